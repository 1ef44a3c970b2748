"""Which entities a note denies, doubts, tells of the past, plans, or says of the family."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from spacy_tcm.context.scopes import SENTENCE_END, Entity, Scopes, compile_any
from spacy_tcm.errors import Errors
from spacy_tcm.extensions import section_at
from spacy_tcm.linking import to_simplified
from spacy_tcm.sections import default_sections
from spacy_tcm.tables import Table

DEFAULT_CONTEXT = Path(__file__).parents[1] / "resources" / "context.json"

# Keys whose values are not expressions.
_PLAIN = ("labels", "not_in", "conditional", "sections", "treated_in")
# How far back, in characters, a cue of a changed value or of a condition stands.
_NEAR = 8
# So many herbs are a prescription.
_PRESCRIPTION = 3
_FINDINGS = ("SYMPTOM", "SIGN")
# A word for a relative has at most so many characters.
_KIN = 5
_LINE = re.compile(r"(?<=[\n\r])[^\n\r]+")


class ContextRules(Table):
    """Cues, as of ``resources/context.json``, whose README describes them.

    ``data`` is the whole of it, JSON-able: ``ContextRules(rules.data)`` are the same rules.
    """

    DEFAULT, ERROR = DEFAULT_CONTEXT, Errors.E601
    SOURCE = "the cues"

    def _compile(self) -> None:
        self._p: dict[str, re.Pattern[str]] = {}
        for key, value in self.data.items():
            if isinstance(value, list):
                self._p[key] = compile_any(value)
                continue
            for name, patterns in value.items():
                if not (name in _PLAIN or name.endswith("labels")):
                    self._p[f"{key}.{name}"] = compile_any(patterns)
        missing = set(read_defaults()) - set(self.data)
        for key, value in read_defaults().items():
            if isinstance(value, dict):
                missing |= {f"{key}.{name}" for name in value if name not in self.data.get(key, {})}
        if missing:
            raise KeyError(f"missing: {sorted(missing)}")

    def read(
        self,
        text: str,
        entities: Iterable[tuple[int, int, str]],
        sections: Sequence[dict[str, Any]] | None = None,
        priors: Mapping[str, Mapping[str, str]] | None = None,
    ) -> list[dict[str, str]]:
        """The qualifiers of the entities of one text.

        entities: (start, end, label), characters, flat, in order. sections: of
            :meth:`SectionGrammar.find`; by default they are looked for. priors: section id -> what
            holds in it, by default those of ``resources/sections.json``.
        RETURNS: for each entity ``{"negation", "certainty", "temporality", "experiencer"}``.
        """
        found = [Entity(*entity) for entity in entities]
        text = to_simplified(text)
        if sections is None:
            sections = default_sections().find(text)
        if priors is None:
            priors = default_sections().priors
        reader = _Reader(self, text, found, list(sections), priors)
        return reader.read()


@cache
def read_defaults() -> dict[str, Any]:
    """The package's own cues; do not change them."""
    return json.loads(DEFAULT_CONTEXT.read_text(encoding="utf8"))


class _Reader:
    """Reads one text."""

    def __init__(
        self,
        rules: ContextRules,
        text: str,
        entities: list[Entity],
        sections: list[dict[str, Any]],
        priors: Mapping[str, Mapping[str, str]],
    ):
        self.p, self.data, self.text, self.entities = rules._p, rules.data, text, entities
        self.sections = sections
        self.ids = [section_at(sections, e.start) for e in entities]
        self.priors_of = priors
        self.priors = [priors.get(i or "", {}) for i in self.ids]
        p = rules._p
        own_subject = p["negation.own_subject"]
        self.advised = self._find_advised()
        self.scopes = Scopes(text, entities, p["no_cue"], p["stops"], p["list_joins"], own_subject)
        self.absent: set[int] = set()
        self.possible: set[int] = set()
        self.past: set[int] = set()
        self.future: set[int] = set()
        self.family: set[int] = set()

    def read(self) -> list[dict[str, str]]:
        self._read_possible()
        self._read_negation()
        self._read_differential()
        self._read_removed()
        self._read_family()
        self._read_future()
        self._read_past()
        return [
            {
                "negation": "absent"
                if i in self.absent
                else "possible"
                if i in self.possible
                else "present",
                "certainty": "possible" if i in self.possible else "certain",
                "temporality": "past"
                if i in self.past
                else "future"
                if i in self.future
                else "current",
                "experiencer": "family" if i in self.family else "patient",
            }
            for i in range(len(self.entities))
        ]

    def _find_advised(self) -> set[int]:
        """What follows a prescription in a section that began before it: a note without headers
        ends with advice."""
        headed = self.data["future"]["sections"]
        found: set[int] = set()
        for section in self.sections:
            if section["id"] in headed:
                continue
            herbs = 0
            for i, entity in enumerate(self.entities):
                if section["start"] <= entity.start < section["end"]:
                    herbs += entity.label == "HERB"
                    if herbs >= _PRESCRIPTION:
                        found.add(i)
        return found

    def _forward(self, key: str, labels: Iterable[str] | None = None) -> set[int]:
        labels = set(self.data[key]["labels"] if labels is None else labels)
        commas = self.p["negation.over_commas"]
        return {i for i, _ in self.scopes.before(self.p[f"{key}.before"], labels, commas)}

    def _backward(self, key: str, labels: Iterable[str] | None = None) -> set[int]:
        labels = set(self.data[key]["labels"] if labels is None else labels)
        return set(self.scopes.after(self.p[f"{key}.after"], labels))

    def _before(self, i: int, key: str) -> bool:
        """Whether a cue ends right before an entity."""
        start = self.entities[i].start
        at = max(start - _NEAR, 0)
        return any(self.p[key].fullmatch(self.text, j, start) for j in range(at, start))

    # The five kinds, each over the whole text.

    def _read_possible(self) -> None:
        labels = self.data["possible"]["labels"]
        self.possible = self._forward("possible") | self._backward("possible")
        conditional = self.data["possible"]["conditional"]
        for i in list(self.possible):
            label = self.entities[i].label
            if label in ("SYMPTOM", "SIGN", "SEVERITY"):
                start, end = self.scopes.clause(self.entities[i].start)
                if re.search("疑|除外|[?？]|恐|防", self.text[start : end + 1]):
                    continue
                told = self.ids[i] in conditional or i in self.advised
                if not told and not self._is_condition(i):
                    self.possible.discard(i)
                elif self.p["possible.if"].search(self.text, start, self.entities[i].start):
                    self.future.add(i)  # 若发热即报告: not yet
        for i, entity in enumerate(self.entities):
            if entity.label in ("PROCEDURE", "DRUG", "TEST") and entity.label not in labels:
                start, _ = self.scopes.clause(entity.start, SENTENCE_END)
                at = max(start, entity.start - 24)
                ends = [m.end() for m in self.p["if_needed"].finditer(self.text, at, entity.start)]
                if ends and entity.start - ends[-1] <= _NEAR:
                    self.future.add(i)
                    if entity.label != "TEST":
                        self.possible.add(i)

    def _is_condition(self, i: int) -> bool:
        """如出现发热，立即就诊: what is to be done then makes clear that it is not so."""
        at = self.entities[i].start
        start, end = self.scopes.clause(at, SENTENCE_END)
        return bool(
            self.p["possible.condition"].search(self.text, max(start - 1, 0), at)
            and self.p["possible.then"].search(self.text, at, end)
        )

    def _read_negation(self) -> None:
        negation = self.data["negation"]
        self.absent = self._forward("negation")
        self.absent |= self._backward("negation", negation["after_labels"])
        self.absent -= self.possible

    def _read_differential(self) -> None:
        """The other diseases and what they would show; the patient's own are what they are."""
        rules = self.data["differential"]
        for i, entity in enumerate(self.entities):
            if self.priors[i].get("negation") != "absent" or entity.label not in rules["labels"]:
                continue
            start, end = self.scopes.clause(entity.start, SENTENCE_END)
            own = bool(self.scopes.cue_in(self.p["differential.patient"], start, entity.start))
            clause, _ = self.scopes.clause(entity.start)
            own = own or bool(
                self.scopes.cue_in(self.p["differential.shared"], clause, entity.start)
            )
            # CT未见占位: what a test did not show is the patient's.
            own = own or (
                i in self.absent
                and any(
                    e.label == "TEST" and clause <= e.start < entity.start for e in self.entities
                )
            )
            if own:
                continue
            after_test = i and self.entities[i - 1].label == "TEST"
            if entity.label == "VALUE" and after_test and i not in self.absent:
                continue
            is_disease = entity.label in ("WM_DISEASE", "TCM_DISEASE")
            if is_disease and self.p["differential.open"].search(self.text, entity.end, end):
                excluded = re.search("(?:可|已|可以|予以)(?:排|除)", self.text[entity.end : end])
                if not excluded:
                    self.absent.discard(i)
                    self.possible.add(i)
                    continue
            # 泄泻便下稀薄而无脓血: the patient has what the other disease has not. But
            # 嗜铬细胞瘤：无头痛 says it of the patient.
            said_of_patient = re.search(
                r"[:：]\s*(?:无|未)[^，。；]*$", self.text[start : entity.start]
            )
            if i in self.absent and not is_disease:
                if not said_of_patient:
                    self.absent.discard(i)
            else:
                self.absent.add(i)

    def _read_removed(self) -> None:
        not_in = self.data["removed"]["not_in"]
        for i in self._forward("removed") | self._backward("removed"):
            entity = self.entities[i]
            reduced = re.match(r"[^，。；、]{0,3}[为至半]|\s*\d", self.text[entity.end :][:8])
            if self._before(i, "removed.reduced") and reduced:
                continue
            if entity.label in ("HERB", "PROCEDURE") or self.ids[i] not in not_in:
                self.absent.add(i)

    def _read_family(self) -> None:
        labels = set(self.data["family"]["labels"])
        self.family = self._backward("family")
        histories = self._family_histories()
        for i, entity in enumerate(self.entities):
            if entity.label not in labels:
                continue
            if any(start <= entity.start < end for start, end in histories):
                self.family.add(i)
                continue
            start, _ = self.scopes.clause(entity.start, SENTENCE_END)
            start = max(start, entity.start - 24)
            if self._is_of_kin(start, entity.start):
                self.family.add(i)
        # 母亲患糖尿病、高血压: the list goes on.
        for i in range(1, len(self.entities)):
            gap = self.text[self.entities[i - 1].end : self.entities[i].start]
            joined = self.p["list_joins"].fullmatch(gap.strip("”“ "))
            same = self.entities[i].label == self.entities[i - 1].label
            if i - 1 in self.family and joined and same:
                self.family.add(i)

    def _family_histories(self) -> list[tuple[int, int]]:
        """The sections of the family, each up to where it turns to the patient."""
        return [
            (section["start"], self._family_end(section))
            for section in self.sections
            if self.priors_of.get(section["id"], {}).get("experiencer") == "family"
        ]

    def _family_end(self, section: Mapping[str, Any]) -> int:
        """A word for the patient (but not 患者父亲), the tongue or pulse, or a further line
        without a relative ends it."""
        start, end = section.get("header_end") or section["start"], section["end"]
        seen = (e.start for e in self.entities if e.label in ("TONGUE", "PULSE"))
        ends = [end, *(at for at in seen if start <= at < end)]
        for m in self.p["family.patient"].finditer(self.text, start, end):
            _, stop = self.scopes.clause(m.end())
            if not self._names_kin(m.end(), min(stop, m.end() + _NEAR)):
                ends.append(m.start())
        for m in _LINE.finditer(self.text, start, end):
            told = self.text[start : m.start()].rstrip()
            goes_on = not told or told[-1] in "，,、；;：:"
            if not goes_on and not self._names_kin(*m.span()):
                ends.append(m.start())
        return min(ends)

    def _names_kin(self, start: int, end: int) -> bool:
        kin = self.p["family.kin"]
        return any(
            kin.fullmatch(self.text, at, to)
            for at in range(start, end)
            for to in range(at + 1, min(at + _KIN, end) + 1)
        )

    def _is_of_kin(self, start: int, end: int) -> bool:
        part = self.text[start:end]
        last = None
        for m in self.p["family.kin"].finditer(part):
            last = m
        if last is None or self.p["family.not_kin"].search(part, max(last.start() - 1, 0)):
            return False
        rest = part[last.end() :]
        if re.search("患者|患儿|本人|自[觉诉]|既往|代诉", rest):
            return False
        if "家" not in last[0] and "否认" in rest:
            return False
        return rest.strip() == "" or bool(self.p["family.says"].search(rest)) or "家" in last[0]

    def _read_future(self) -> None:
        rules = self.data["future"]
        planned = set(rules["sections"])
        self.future |= self._forward("future") | self._backward("future")
        for i in list(self.future):
            history = self.ids[i] in ("past_history", "present_illness", "current_symptoms")
            history = history and i not in self.advised
            near = self.text[max(self.entities[i].start - 16, 0) : self.entities[i].start]
            if i in self.absent or (history and not re.search("拟|择期|必要时|建议", near)):
                self.future.discard(i)
        labels = set(rules["labels"])
        no_commas = re.compile("(?!)")
        times = []
        for i, entity in enumerate(self.entities):
            if entity.label != "TIME":
                continue
            if i not in self.advised and self.ids[i] in ("present_illness", "past_history"):
                continue
            if self.text[: entity.start].rstrip(" \u3000")[-1:] in ("", "\n", "（", "("):
                continue  # 2周后再诊: the heading of a later visit
            is_later = self.p["future.times"].search(self.text[entity.start : entity.end])
            m = self.p["future.time_before"].match(self.text, entity.end)
            if not (is_later and m):
                continue
            if i in self.advised and self._has_outcome(i):
                continue
            if self.ids[i] in planned or i in self.advised or "后" in is_later[0]:
                times.append(i)
        for i in times:
            self.future.add(i)
            while (
                i
                and self.entities[i - 1].label == "TIME"
                and self.p["list_joins"].fullmatch(
                    self.text[self.entities[i - 1].end : self.entities[i].start]
                )
            ):
                i -= 1
                self.future.add(i)
        for i, _ in self.scopes.before(self.p["future.planned"], labels, no_commas):
            start, _ = self.scopes.clause(self.entities[i].start)
            later = any(start <= self.entities[t].start < self.entities[i].start for t in times)
            if later or (self.entities[i].label == "TEST" and self.ids[i] in planned):
                self.future.add(i)

    def _has_outcome(self, i: int) -> bool:
        """三月后复查CT，空洞闭合: it has been done."""
        _, end = self.scopes.clause(self.entities[i].start, SENTENCE_END)
        rest = (e.label for e in self.entities[i:] if e.start < end)
        return not set(rest) <= {"TIME", "TEST", "PROCEDURE", "DRUG", "HERB", "FORMULA"}

    def _read_past(self) -> None:
        self._read_histories()
        self._read_treated()
        self._read_earlier_values()
        self._read_onset()
        self._read_earlier_visit()
        self.past -= {i for i in self.future if i in self.past}

    def _read_histories(self) -> None:
        rules = self.data["past"]
        history = set(rules["labels"])
        for i, entity in enumerate(self.entities):
            if self.priors[i].get("temporality") != "past" or i in self.family:
                continue
            if self.ids[i] == "allergy_history":
                labels = set(rules["allergy_labels"])
            elif self.ids[i] == "past_history":
                labels = history if i in self.absent else history - {"TRIGGER"}
            else:
                labels = history - {"TRIGGER", "TCM_DISEASE"}
            if entity.label in labels:
                self.past.add(i)
        outside = ("family_history", "differential_diagnosis", "syndrome_analysis", "advice")
        told = self.scopes.after(self.p["past.after"], history)
        self.past |= {i for i in told if self.ids[i] not in outside and i not in self.family}
        # Who denies a disease or an operation denies having had it.
        denied = self.scopes.before(
            self.p["negation.over_commas"], history, self.p["negation.over_commas"]
        )
        self.past |= {
            i for i, _ in denied if self.ids[i] not in outside and i not in self.family
        } & self.absent
        for i, entity in enumerate(self.entities):
            if entity.label in ("WM_DISEASE", "TCM_DISEASE") and self.ids[i] in rules["treated_in"]:
                clause, _ = self.scopes.clause(entity.start)
                if i not in self.family and self.p["past.once"].search(
                    self.text, clause, entity.start
                ):
                    self.past.add(i)
        once = self.scopes.before(self.p["past.once_near"], _FINDINGS, self.p["past.once_near"])
        self.past |= {
            i
            for i, _ in once
            if self.ids[i] in rules["treated_in"] and i not in self.absent | self.family
        }
        treated = self.scopes.after(self.p["past.treatment_after"], {"PROCEDURE"})
        self.past |= {
            i
            for i in treated
            if self.ids[i] in rules["treated_in"] and i not in self.future and i not in self.absent
        }

    def _read_treated(self) -> None:
        """What was taken or done before this visit: 曾服X, 外院予X 10mg。"""
        rules = self.data["past"]
        labels, places = set(rules["treated_labels"]), set(rules["treated_in"])
        narrated = {i for section in self._narratives() for i in section}
        for i, entity in enumerate(self.entities):
            if entity.label not in labels - {"DOSAGE"} or self.ids[i] not in places:
                continue
            if i in self.absent or i in self.future:
                continue
            start, _ = self.scopes.clause(entity.start, SENTENCE_END)
            told = self.scopes.cue_in(self.p["past.treated"], start, entity.start)
            clause, _ = self.scopes.clause(entity.start)
            if told is None and i in narrated:
                told = self.scopes.cue_in(self.p["past.treated_here"], clause, entity.start)
            if told is None and self.ids[i] == "present_illness":
                told = self.p["past.treated_after"].match(self.text, entity.end)
            if told is None or self.scopes.cue_in(self.p["past.current"], clause, entity.start):
                continue
            if self.ids[i] == "past_history" and self._dosage_follows(i):
                continue
            self.past.add(i)
        for i, entity in enumerate(self.entities):
            if entity.label in ("DOSAGE", "FREQUENCY") and i and i - 1 in self.past:
                gap = self.text[self.entities[i - 1].end : entity.start]
                if self.entities[i - 1].label in labels and gap.strip(" （(、") == "":
                    self.past.add(i)

    def _dosage_follows(self, i: int) -> bool:
        following = self.entities[i + 1 : i + 2]
        return bool(following) and following[0].label == "DOSAGE"

    def _read_earlier_values(self) -> None:
        """由8分降至3分, 21→46, 初诊310分, 改X汤为Y汤."""
        labels = set(self.data["past"]["earlier_labels"])
        for i, entity in enumerate(self.entities):
            if entity.label not in labels:
                continue
            changes = self.p["past.to"].match(self.text, entity.end)
            if changes and (self._before(i, "past.from") or changes[0].endswith("→")):
                self.past.add(i)
                continue
            start, _ = self.scopes.clause(entity.start)
            at = max(start, entity.start - _NEAR)
            if self.scopes.cue_in(self.p["past.earlier"], at, entity.start):
                self.past.add(i)

    def _read_onset(self) -> None:
        """In a present illness that ends in a section of its own (刻下), what was found at an
        onset months or years ago, up to the next point in time."""
        labels = set(self.data["past"]["onset_labels"])
        for inside in self._narratives():
            points = [i for i in inside if self._is_time(i, "past.onset_until")]
            # The last one leads to the present.
            for i, following in pairwise(points):
                if self._is_time(i, "past.onset"):
                    told = range(i + 1, following)
                    self.past |= {j for j in told if self.entities[j].label in labels} - self.absent
        self.past -= self.family

    def _is_time(self, i: int, key: str) -> bool:
        start, end, label = self.entities[i]
        return label == "TIME" and bool(self.p[key].search(self.text[start:end]))

    def _narratives(self) -> list[list[int]]:
        """The entities of each present illness that goes before a section of current symptoms,
        with what in it looks like a section (于外院诊断为)."""
        found = []
        for n, section in enumerate(self.sections):
            if (section["id"], section["kind"]) != ("present_illness", "header"):
                continue
            for following in self.sections[n + 1 :]:
                if following["id"] == "current_symptoms":
                    start, end = section["start"], following["start"]
                    found.append([i for i, e in enumerate(self.entities) if start <= e.start < end])
                if following["kind"] == "header" or following["id"] == "current_symptoms":
                    break
        return found

    def _read_earlier_visit(self) -> None:
        """首诊见便秘、舌淡，今诉腹胀: what an earlier visit found, up to a word of the present."""
        labels = set(self.data["past"]["retold_labels"])
        for cue in self.p["past.retold"].finditer(self.text):
            _, end = self.scopes.clause(cue.end(), SENTENCE_END)
            until = self.scopes.cue_in(self.p["past.retold_until"], cue.end(), end)
            ends = [until.start()] if until else [end]
            for i, entity in enumerate(self.entities):
                if entity.start >= cue.end() and self._is_time(i, "past.onset_until"):
                    ends.append(entity.start)
            end = min(ends)
            told = {i for i, e in enumerate(self.entities) if cue.end() <= e.start < end}
            seen = {i for i, e in enumerate(self.entities) if e.label in ("TONGUE", "PULSE")}
            if seen and seen <= told:
                continue  # where else is none, this is the visit itself
            self.past |= {i for i in told if self.entities[i].label in labels} - self.absent
