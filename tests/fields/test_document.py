"""Typed fields of whole notes, with sections and context before them."""

import pytest
import spacy


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("tcm")
    for name in ("tcm_sections", "tcm_context", "tcm_fields"):
        nlp.add_pipe(name)
    return nlp


def read(nlp, text, **entities):
    """entities: surface -> label."""
    doc = nlp.make_doc(text)
    spans = []
    for surface, label in entities.items():
        at = text.index(surface)
        spans.append(doc.char_span(at, at + len(surface), label=label))
    doc.set_ents(spans)
    for _, pipe in nlp.pipeline:
        doc = pipe(doc)
    return {field: found["value"] for field, found in doc._.fields.items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("入院时VAS 7分，现VAS 3分。", 3),
        ("术前VAS 8分，术后第1天VAS 4分。", 4),
        ("疼痛VAS 3分，昨日VAS 7分。", 3),
        ("VAS 昨日7分、今日3分。", 3),
        ("昨日VAS 7分。", 7),
        ("原VAS 6分，治疗后VAS 2分。", 2),
        ("入院VAS评分8分，目前VAS评分3分，目标VAS评分1分。", 3),
        ("目前VAS评分3分，入院VAS评分8分。", 3),
        ("患处VAS评分6分，嘱：VAS评分若高于7分，口服塞来昔布。", 6),
        ("疼痛VAS 3分，活动时VAS 7分。", 7),
    ],
)
def test_an_earlier_score_does_not_win(nlp, text, value):
    assert read(nlp, text)["骨科.患处VAS评分"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("体温38.5℃，昨日体温39℃。", 38.5),
        ("昨日体温39℃，今日体温38.5℃。", 38.5),
        ("体温三十八度五。", 38.5),
        ("體溫三十八度五，咳嗽。", 38.5),
        ("体温38度5，咳嗽。", 38.5),
        ("体温三十八度五天。", 38),
    ],
)
def test_the_temperature_of_now(nlp, text, value):
    assert read(nlp, text)["一般.体温"] == value


@pytest.mark.parametrize("history", ["家族史：父亲患高血压", "既往史：体健", "过敏史：无"])
def test_tongue_and_pulse_after_a_history(nlp, history):
    """They are the patient's, and of now, though no header begins them."""
    found = read(nlp, f"{history}。舌红，脉弦。", 舌红="TONGUE", 脉弦="PULSE")
    assert (found["舌象.舌色"], found["脉象.脉"]) == (["红"], ["弦"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("母亲高血压。\n发热。", True), ("母亲高血压。患者发热。", True), ("母亲发热。", None)],
)
def test_findings_after_a_family_history(nlp, text, value):
    found = read(nlp, f"家族史：{text}", 发热="SYMPTOM")
    assert found.get("呼吸内科.有无发热") == value


def test_a_pulse_in_a_prescription_is_not_of_now(nlp):
    found = read(nlp, "主诉：头痛3天。\n医嘱：脉弦者来诊。", 头痛="SYMPTOM", 脉弦="PULSE")
    assert "脉象.脉" not in found


@pytest.mark.parametrize(
    ("text", "value"), [("体温36,5度。", 36.5), ("T38，2℃。", 38.2), ("体温36.5℃。", 36.5)]
)
def test_decimal_commas(nlp, text, value):
    assert read(nlp, text)["一般.体温"] == value


def test_a_list_of_numbers_has_no_decimals(nlp):
    assert "一般.体温" not in read(nlp, "第36,5天复查。")


@pytest.mark.parametrize(
    ("text", "value"),
    [("每天拉肚子5次。", [5, 5]), ("拉肚子，一天三四次。", [3, 4]), ("每天拉肚子。", None)],
)
def test_stools_in_plain_words(nlp, text, value):
    assert read(nlp, text).get("消化内科.刻下腹泻频次") == value


def test_course_in_years_and_months(nlp):
    assert read(nlp, "主诉：咳嗽三年零两个月。", 咳嗽="SYMPTOM")["一般.病程"] == 38


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("膝痛患者，用当归拈痛汤三周，口渴。", None),
        ("口渴减，布洛芬已十日未用。", None),
        ("近8年来每于劳累则口渴，近半年加重。", 8),
        ("消渴二十年，此番受凉，口渴3日。", 20),
    ],
)
def test_whose_course(nlp, text, value):
    labels = {"膝痛": "WM_DISEASE", "口渴": "SYMPTOM", "消渴": "WM_DISEASE"}
    entities = {word: label for word, label in labels.items() if word in text}
    assert read(nlp, text, **entities).get("一般.病程") == value
