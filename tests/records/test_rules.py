import csv
import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from spacy_tcm.errors import RecordError
from spacy_tcm.records.rules import WEAK, Rule, compare, find_rules, items_of, write_rules


def entity(label, text, **more):
    return {"label": label, "text": text, "codes": [], "start": 0, "end": 1, **more}


def visit(*items, text="", fields=None, **more):
    entities = [entity(*item, **more) for item in items]
    return {"text": text, "entities": entities, "fields": fields or {}}


DAMP, HERB, COLD = ("SYNDROME", "湿热"), ("HERB", "黄连"), ("SYMPTOM", "畏寒")


def test_a_transaction_is_what_is_affirmed_by_preferred_terms():
    record = visit(DAMP, HERB)
    record["entities"] += [
        entity(*COLD, negation="absent"),
        entity("SYMPTOM", "发热", temporality="past"),
        entity("SYMPTOM", "头痛", certainty="possible"),
        entity("SYMPTOM", "咳嗽", experiencer="family"),
        entity("TIME", "3天"),
        entity("HERB", "北芪", codes=[{"code": None, "display": "黄芪"}]),
        entity("TONGUE", "舌偏红"),
        entity("PULSE", "脉弦"),
    ]
    record["fields"] = {"舌象.舌色": {"value": ["红"]}}
    assert items_of(record) == {
        DAMP,
        HERB,
        ("HERB", "黄芪"),
        ("舌象.舌色", "红"),
        ("PULSE", "脉弦"),
    }
    assert items_of(record, ["HERB"]) == {HERB, ("HERB", "黄芪")}


def test_figures_of_a_rule():
    records = [visit(DAMP, HERB)] * 6 + [visit(DAMP)] * 2 + [visit(HERB)] + [visit(COLD)] * 11
    rules = {(r.antecedent, r.consequent): r for r in find_rules(records, min_confidence=0.1)}
    rule = rules[(DAMP,), HERB]
    assert (rule.n, rule.n_antecedent, rule.n_consequent, rule.n_both) == (20, 8, 7, 6)
    assert rule.support == pytest.approx(6 / 20)
    assert rule.confidence == pytest.approx(6 / 8)
    assert rule.lift == pytest.approx((6 / 8) / (7 / 20))
    assert rule.leverage == pytest.approx(6 / 20 - 8 / 20 * 7 / 20)
    assert rule.conviction == pytest.approx((1 - 7 / 20) / (1 - 6 / 8))
    p = fisher_exact([[6, 2], [1, 11]], alternative="greater").pvalue
    assert rule.p == pytest.approx(p)
    assert len(rules) == 2
    assert rule.q == pytest.approx(p)  # the other rule is the same table


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcd"), max_size=4), min_size=1, max_size=12))
def test_rules_are_all_that_counting_finds(visits):
    if not any(visits):
        return
    records = [visit(*(("HERB", name) for name in names)) for names in visits]
    found = find_rules(records, min_support=0.2, min_confidence=0.6)
    wanted = {}
    for size in (2, 3):
        for chosen in combinations("abcd", size):
            both = sum(set(chosen) <= names for names in visits)
            for consequent in chosen:
                antecedent = tuple(sorted(set(chosen) - {consequent}))
                n = sum(set(antecedent) <= names for names in visits)
                if both / len(visits) >= 0.2 - 1e-12 and n and both / n >= 0.6 - 1e-12:
                    wanted[antecedent, consequent] = both / n
    assert {
        (tuple(name for _, name in r.antecedent), r.consequent[1]): r.confidence for r in found
    } == pytest.approx(wanted)
    assert all(r.q >= r.p - 1e-12 for r in found)
    assert all(r.conviction is None or math.isfinite(r.conviction) for r in found)


def test_a_rule_that_tells_nothing_says_so():
    records = [visit(DAMP, HERB)] * 19 + [visit(COLD)]
    records += [visit(HERB)] * 19
    found = {(r.antecedent, r.consequent): r for r in find_rules(records)}
    assert found[(DAMP,), HERB].confidence == 1.0
    assert found[(DAMP,), HERB].note == WEAK


def test_raw_keywords_see_what_is_denied():
    told = visit(DAMP, HERB, text="湿热，黄连")
    denied = {**visit(DAMP, text="湿热，不用黄连")}
    only = visit(DAMP, text="湿热")
    rules = find_rules([told, told, denied, only], min_confidence=0.1)
    (rule,) = (r for r in rules if r.antecedent == (DAMP,))
    assert (rule.confidence, rule.raw_confidence) == (0.5, 0.75)
    assert compare([rule]) == {
        "rules": 1,
        "raw": 75.0,
        "structured": 50.0,
        "points": -25.0,
        "relative": -33.33,
    }
    assert compare([]) == {"rules": 0}


def test_what_cannot_be_mined(tmp_path):
    with pytest.raises(RecordError, match="E596"):
        find_rules([visit()])
    with pytest.raises(RecordError, match="min_support"):
        find_rules([visit(DAMP)], min_support=0)
    assert find_rules([visit(DAMP)]) == []


def test_rules_as_a_table(tmp_path):
    rules = find_rules([visit(DAMP, HERB)] * 2 + [visit(COLD)])
    write_rules(tmp_path / "rules.csv", rules)
    with (tmp_path / "rules.csv").open(encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert {first["antecedent"], second["antecedent"]} == {"SYNDROME:湿热", "HERB:黄连"}
    assert float(first["lift"]) == pytest.approx(1.5)
    assert isinstance(rules[0], Rule)
