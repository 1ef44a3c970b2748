"""Which entities belong together: rules over labels, order and distance."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from spacy_tcm.errors import Errors
from spacy_tcm.tables import Table

DEFAULT_RULES = Path(__file__).parent / "resources" / "relations.json"

VISIT = "visit"

FINDINGS = ("SYMPTOM", "SIGN")
DISEASES = ("TCM_DISEASE", "WM_DISEASE")
COMPLAINTS = (*FINDINGS, *DISEASES)
OF_THE_VISIT = {
    "SYMPTOM": "HAS_SYMPTOM",
    "SIGN": "HAS_SIGN",
    "TONGUE": "HAS_TONGUE",
    "PULSE": "HAS_PULSE",
    "TCM_DISEASE": "DIAGNOSED_AS",
    "WM_DISEASE": "DIAGNOSED_AS",
}
# What a syndrome is said to show in, to come from, and to be treated by.
OF_THE_SYNDROME = {
    "SYMPTOM": "MANIFESTS_AS",
    "SIGN": "MANIFESTS_AS",
    "TONGUE": "MANIFESTS_AS",
    "PULSE": "MANIFESTS_AS",
    "PATHOGENESIS": "CAUSED_BY",
    "PRINCIPLE": "TREATED_BY_PRINCIPLE",
    "FORMULA": "PRESCRIBED",
}
SHOWN = tuple(label for label, type_ in OF_THE_SYNDROME.items() if type_ == "MANIFESTS_AS")
TREATMENTS = ("PRINCIPLE", "FORMULA")
TYPES = (
    *dict.fromkeys(OF_THE_VISIT.values()),
    *("LOCATED_AT", "HAS_QUALITY", "HAS_SEVERITY", "HAS_FREQUENCY", "HAS_DURATION", "HAS_TRIGGER"),
    *("MEASURED_AS", "DIFFERENTIATED_AS", "MANIFESTS_AS", "CAUSED_BY", "TREATED_BY_PRINCIPLE"),
    *("PRESCRIBED", "CONTAINS", "HAS_DOSAGE", "NEEDLED_AT"),
)


class Mention(NamedTuple):
    """An entity: characters, end exclusive."""

    start: int
    end: int
    label: str


class Relation(NamedTuple):
    """head, tail: numbers of mentions; head may be ``VISIT``. rule: a key of the table's scores."""

    type: str
    head: int | str
    tail: int
    rule: str


class RelationRules(Table):
    """The rules, with the words of ``resources/relations.json``, whose README describes them.

    ``data`` is the whole table, JSON-able: ``RelationRules(rules.data)`` is the same.
    """

    DEFAULT, ERROR = DEFAULT_RULES, Errors.E640

    def _compile(self) -> None:
        data = self.data
        self.scores: dict[str, float] = {k: float(v) for k, v in data["scores"].items()}
        missing = {"adjacent", "shared", "topic", "nearest", "visit"} - self.scores.keys()
        if missing:
            raise ValueError(f"scores: {', '.join(sorted(missing))} missing")
        self.near, self.far = int(data["near"]), int(data["far"])
        self.sentence_end = re.compile(f"[{re.escape(data['sentence_end'])}]")
        self.clause_end = re.compile(f"[{re.escape(data['clause_end'])}]")
        self.joins = frozenset(data["joins"])
        fillers = sorted(data["fillers"], key=len, reverse=True)
        self.filler = re.compile(rf"(?:[\s，,、：:（(“”\-=]|{'|'.join(map(re.escape, fillers))})*")
        for name in (
            *("durations", "not_durations", "whole_dosages", "footnotes", "shared_dosage"),
            *("habits", "removed", "removed_list", "needles", "visits", "items"),
            "list_heads",
        ):
            setattr(self, name, re.compile(data[name]))

    durations: re.Pattern[str]
    not_durations: re.Pattern[str]
    whole_dosages: re.Pattern[str]
    footnotes: re.Pattern[str]
    shared_dosage: re.Pattern[str]
    habits: re.Pattern[str]
    removed: re.Pattern[str]
    removed_list: re.Pattern[str]
    needles: re.Pattern[str]
    visits: re.Pattern[str]
    items: re.Pattern[str]
    list_heads: re.Pattern[str]

    def find(
        self,
        text: str,
        mentions: Sequence[Mention],
        visit_starts: Iterable[int] = (),
        prescriptions: Iterable[Mapping[str, Any]] | None = None,
    ) -> list[Relation]:
        """The relations of one text, in order of type, head and tail. A text that is repeated has
        as many more of them, not more.

        mentions: in order, not overlapping. visit_starts: where later visits begin, in characters;
        those that the text's own headings tell are found. prescriptions: ``doc._.prescriptions``;
        None, they were not read: then formulas, herbs and doses are told by order and distance.
        """
        starts = {*visit_starts, *(m.start() for m in self.visits.finditer(text))}
        reader = _Reader(self, text, mentions, sorted(starts - {0}))
        local = [
            *reader.findings(),
            *reader.measurements(),
            *reader.places(),
            *reader.prescriptions(None if prescriptions is None else list(prescriptions)),
            *reader.needling(),
            *reader.diagnoses(),
        ]
        unique: dict[tuple[str, int | str, int], Relation] = {}
        for relation in [*local, *reader.visit_level()]:
            unique.setdefault(relation[:3], relation)
        order = {name: number for number, name in enumerate(TYPES)}
        return sorted(unique.values(), key=lambda r: (order[r.type], str(r.head) == VISIT, _key(r)))


def _key(relation: Relation) -> tuple[int, int]:
    return (relation.head if isinstance(relation.head, int) else -1, relation.tail)


class _Reader:
    """One text and its mentions. starts: where later visits begin."""

    def __init__(
        self,
        rules: RelationRules,
        text: str,
        mentions: Sequence[Mention],
        starts: Sequence[int],
    ):
        self.rules = rules
        self.text = text
        self.mentions = mentions
        self.labels = [m.label for m in mentions]
        # Of each mention, the number of its visit, and of the numbered item or line it stands in;
        # where these begin; and of the items, where their numbers end.
        self.visit_of = [bisect_right(starts, m.start) for m in mentions]
        self.number_ends = {m.start(): m.end() for m in rules.items.finditer(text)}
        lines = (m.end() for m in re.finditer(r"[\n\r]", text))
        self.cuts = sorted({*self.number_ends, *lines})
        self.item_of = [bisect_right(self.cuts, m.start) for m in mentions]

    def surface(self, i: int) -> str:
        return self.text[self.mentions[i].start : self.mentions[i].end]

    def gap(self, i: int, j: int) -> str:
        """The text between two mentions."""
        return self.text[self.mentions[i].end : self.mentions[j].start]

    def is_adjacent(self, i: int, j: int) -> bool:
        """Nothing but spaces, commas and words that do not matter between; no sentence's end."""
        gap = self.gap(i, j)
        return bool(self.rules.filler.fullmatch(gap)) and not self.rules.sentence_end.search(gap)

    def is_same_sentence(self, i: int, j: int) -> bool:
        return not self.rules.sentence_end.search(self.gap(i, j))

    def listed_before(self, i: int) -> Iterator[int]:
        """The mentions of like kind that run up to this one as a list, the nearest first."""
        kind = FINDINGS if self.labels[i] in FINDINGS else (self.labels[i],)
        while (
            i and self.labels[i - 1] in kind and self.gap(i - 1, i).strip(" ") in self.rules.joins
        ):
            if " " in self.gap(i - 1, i):
                return
            i -= 1
            yield i

    def previous(self, i: int, labels: Sequence[str]) -> int | None:
        """The nearest mention of these labels before, in its sentence or, if only such as tell
        more of a finding lie between, nearby."""
        for j in range(i - 1, -1, -1):
            if self.mentions[i].start - self.mentions[j].end > self.rules.far:
                return None
            if not self.is_same_sentence(j, i):
                return None
            if self.labels[j] in labels:
                return j
        return None

    def following(self, i: int, labels: Sequence[str], passing: Sequence[str]) -> int | None:
        """The next mention of these labels in the same clause; only `passing` ones lie between."""
        for j in range(i + 1, len(self.mentions)):
            gap = self.gap(j - 1, j)
            if self.rules.clause_end.search(gap) or len(gap) > 4:
                return None
            if self.labels[j] in labels:
                return j
            if self.labels[j] not in passing:
                return None
        return None

    def of_list(self, type_: str, head: int, tail: int, rule: str) -> Iterator[Relation]:
        yield Relation(type_, head, tail, rule)
        for other in self.listed_before(head):
            yield Relation(type_, other, tail, "shared")

    def findings(self) -> Iterator[Relation]:
        """Duration, trigger, severity, frequency and quality of a finding."""
        topic: int | None = None  # the finding that is spoken of
        for i, label in enumerate(self.labels):
            if i and self.mentions[i].start - self.mentions[i - 1].end > self.rules.far:
                topic = None
            if topic is not None and "\n" in self.gap(i - 1, i):
                topic = None
            if label in COMPLAINTS:
                topic = i
            elif label == "TIME":
                yield from self._duration(i, topic)
            elif label == "TRIGGER":
                yield from self._trigger(i, topic)
            elif label == "SEVERITY":
                head = self.previous(i, (*COMPLAINTS, "TONGUE", "PULSE")) if i else None
                head = topic if head is None else head
                if head is not None and self._runs(head, i):
                    rule = "adjacent" if head == i - 1 else "topic"
                    yield from self.of_list("HAS_SEVERITY", head, i, rule)
            elif label == "FREQUENCY":
                head = self._told_head(i)
                if head is not None:
                    yield Relation(
                        "HAS_FREQUENCY", head, i, "topic" if i - head > 1 else "adjacent"
                    )
            elif label == "QUALITY":
                head = self._told_head(i)
                if head is not None:
                    yield from self.of_list("HAS_QUALITY", head, i, "topic")

    def _runs(self, head: int, i: int) -> bool:
        """From the finding to what tells more of it there is nothing that starts another thing."""
        passing = ("TRIGGER", "TIME", "SEVERITY", "QUALITY", "FREQUENCY")
        return all(self.labels[j] in passing for j in range(head + 1, i)) and all(
            len(self.gap(j, j + 1)) <= self.rules.near for j in range(head, i)
        )

    def _told_head(self, i: int) -> int | None:
        """The finding that something more is told of, right after it or after other such things."""
        j = i - 1
        while j >= 0 and self.is_adjacent(j, j + 1):
            if self.labels[j] in COMPLAINTS:
                return j
            if self.labels[j] not in ("QUALITY", "TIME", "SEVERITY", "FREQUENCY"):
                return None
            j -= 1
        return None

    def _duration(self, i: int, topic: int | None) -> Iterator[Relation]:
        words = self.surface(i)
        if not self.rules.durations.search(words) or self.rules.not_durations.search(words):
            return
        before = i - 1
        # 摔伤右腕3h，肿痛: what lies between tells where or why.
        if i and self.labels[before] in COMPLAINTS and self.is_adjacent(before, i):
            gap = self.gap(before, i)
            # 咳嗽，3天前起发热: it goes with what comes.
            goes_on = self.following(i, COMPLAINTS, ("TRIGGER",)) is not None and (
                re.search("[，,]", gap) or (" " in gap and not self.gap(i, i + 1))
            )
            if not goes_on:
                yield from self.of_list("HAS_DURATION", before, i, "adjacent")
                return
        ahead = self.following(i, COMPLAINTS, ("TRIGGER", "TIME"))
        if ahead is None and i + 1 < len(self.mentions) and self.labels[i + 1] in COMPLAINTS:
            near = self.is_adjacent(i, i + 1)
            ahead = i + 1 if near and (i == 0 or self.labels[i - 1] == "TRIGGER") else None
        if ahead is not None:
            yield from self._forward("HAS_DURATION", ahead, i)
        elif topic is not None and self._runs(topic, i):
            after = self.labels[i + 1 : i + 3]
            if after[:1] == ["SEVERITY"] or after == ["TRIGGER", "SEVERITY"] or i - topic > 1:
                yield Relation("HAS_DURATION", topic, i, "topic")

    def _forward(self, type_: str, head: int, tail: int) -> Iterator[Relation]:
        """Of a finding that comes later, and of those that go on in a list from it."""
        yield Relation(type_, head, tail, "adjacent")
        for j in range(head + 1, len(self.mentions)):
            gap = self.gap(j - 1, j)
            if self.labels[j] not in FINDINGS or gap not in self.rules.joins:
                return
            yield Relation(type_, j, tail, "shared")

    def _trigger(self, i: int, topic: int | None) -> Iterator[Relation]:
        before = self.gap(i - 1, i) if i else self.text[: self.mentions[i].start]
        if self.rules.habits.search(before[-4:]):
            return  # what somebody is used to causes nothing by itself
        ahead = self.following(i, FINDINGS, ("TRIGGER", "TIME", "BODY_PART"))
        after = self.labels[i + 1] if i + 1 < len(self.mentions) else ""
        starts = topic is None or not self._runs(topic, i)
        if ahead is None and after == "TIME" and starts:  # 感冒后8天，寒热往来
            later = i + 2
            if later < len(self.labels) and self.labels[later] in FINDINGS:
                ahead = later if self.is_adjacent(i + 1, later) else None
        if ahead is not None:
            yield from self._forward("HAS_TRIGGER", ahead, i)
        elif topic is not None and self._runs(topic, i):
            yield from self.of_list("HAS_TRIGGER", topic, i, "topic")

    def measurements(self) -> Iterator[Relation]:
        head: int | None = None
        for i, label in enumerate(self.labels):
            if label == "TEST":
                head = i
            elif label == "VALUE" and i:
                before = i - 1
                told = self.labels[before]
                if told == "TEST" or (
                    told in (*FINDINGS, "QUALITY") and len(self.gap(before, i)) < 4
                ):
                    head = before
                if head is None or not self.is_same_sentence(head, i):
                    continue
                between = self.labels[head + 1 : i]
                if any(x not in ("VALUE", "BODY_PART", "TIME") for x in between):
                    continue
                rule = "adjacent" if head == before else "topic"
                yield from self.of_list("MEASURED_AS", head, i, rule)

    def places(self) -> Iterator[Relation]:
        """A part of the body goes with what is found there, mostly said after it."""
        for i, label in enumerate(self.labels):
            if label != "BODY_PART":
                continue
            j = i + 1
            while j < len(self.mentions) and self.labels[j] in ("BODY_PART", "TIME"):
                if self.rules.sentence_end.search(self.gap(j - 1, j)):
                    break
                j += 1
            found = False
            while j < len(self.mentions) and self.labels[j] in FINDINGS:
                gap = self.gap(j - 1, j)
                if len(gap.strip()) > 2 or self.rules.clause_end.search(gap):
                    break
                yield Relation("LOCATED_AT", j, i, "shared" if found else "adjacent")
                found = True
                j += 1
            before = bool(i) and self.labels[i - 1] in (*FINDINGS, "TEST")
            if not found and before and self.is_adjacent(i - 1, i) and len(self.gap(i - 1, i)) < 3:
                yield Relation("LOCATED_AT", i - 1, i, "adjacent")

    def prescriptions(
        self, prescriptions: Sequence[Mapping[str, Any]] | None
    ) -> Iterator[Relation]:
        """Formula, herbs and doses; the prescriptions that were read are right where they are."""
        found = self._listed_prescriptions()
        if prescriptions is None:
            yield from found
            return
        of = {
            i: number
            for number, p in enumerate(prescriptions)
            for i in self._between(p["start"], p["end"])
        }
        for relation in found:
            assert isinstance(relation.head, int)
            head, tail = of.get(relation.head), of.get(relation.tail)
            if relation.type != "CONTAINS" and (None in (head, tail) or head == tail):
                yield relation
        herb_at = {m.start: i for i, m in enumerate(self.mentions) if m.label == "HERB"}
        for p in prescriptions:
            formula = p["formula"]
            for head in self._between(formula["start"], formula["end"]) if formula else ():
                for herb in p["herbs"] if self.labels[head] == "FORMULA" else ():
                    if herb["start"] in herb_at:
                        yield Relation("CONTAINS", head, herb_at[herb["start"]], "nearest")

    def _between(self, start: int, end: int) -> range:
        """The numbers of the mentions that begin there."""
        first = bisect_left(self.mentions, start, key=lambda m: m.start)
        return range(first, bisect_left(self.mentions, end, key=lambda m: m.start))

    def _goes_on(self, i: int) -> bool:
        """Whether a list that the mention before belongs to may go on here: in the same visit and
        numbered item, or in an item that begins with a herb or a dose."""
        if not i or self.visit_of[i - 1] != self.visit_of[i]:
            return not i
        if len(self.gap(i - 1, i)) > self.rules.far:
            return False
        cuts = self.cuts[self.item_of[i - 1] : self.item_of[i]]
        ends = [self.number_ends[cut] for cut in cuts if cut in self.number_ends]
        start = self.mentions[i].start
        is_entry = self.labels[i] in ("HERB", "DOSAGE")
        heads = (self.text[end:start].strip() for end in ends)
        return all(is_entry and self.rules.list_heads.fullmatch(head) for head in heads)

    def is_item(self, i: int) -> bool:
        return self.item_of[i] > 0 and self.cuts[self.item_of[i] - 1] in self.number_ends

    def _listed_prescriptions(self) -> Iterator[Relation]:
        formula: int | None = None
        waiting: list[int] = []  # herbs and procedures without a dosage
        taker: int | None = None  # what the next dosage is of
        dosed = gone = False
        for i, label in enumerate(self.labels):
            if not self._goes_on(i):
                formula, taker, waiting = None, None, []
            if label == "FORMULA":
                formula, taker, waiting, gone = i, i, [], False
            elif label == "HERB":
                before = self.gap(i - 1, i) if i else self.text[: self.mentions[i].start]
                listed = gone and i and self.labels[i - 1] == "HERB"
                gone = bool(
                    self.rules.removed.search(before)
                    or (listed and self.rules.removed_list.match(before.strip()))
                )
                if dosed or taker is None or self.labels[taker] != "HERB":
                    waiting = []
                taker, dosed = i, False
                if not gone:
                    waiting.append(i)
                    if formula is not None:
                        yield Relation("CONTAINS", formula, i, "nearest")
            elif label in ("DRUG", "PROCEDURE"):
                like = taker is not None and self.labels[taker] == label and not dosed
                near = like and len(self.gap(i - 1, i).strip("、 +")) == 0
                waiting = [*waiting, i] if near else [i]
                taker, dosed = i, False
            elif label == "DOSAGE" and taker is not None:
                yield from self._dosage(i, formula, taker, waiting, dosed)
                dosed = True
            elif label not in ("DOSAGE", "ACUPOINT", "BODY_PART"):
                taker, waiting = None, []

    def _dosage(
        self, i: int, formula: int | None, taker: int, waiting: list[int], dosed: bool
    ) -> Iterator[Relation]:
        words = self.surface(i)
        kind = self.labels[taker]
        if kind in ("DRUG", "PROCEDURE"):
            heads = waiting or [taker]
            if kind == "DRUG":
                heads = [taker]
            for head in heads:
                yield Relation("HAS_DOSAGE", head, i, "adjacent" if head == taker else "shared")
        elif kind == "FORMULA":
            yield Relation("HAS_DOSAGE", taker, i, "adjacent")
        elif self.rules.shared_dosage.search(words) and not dosed:
            for head in waiting:
                yield Relation("HAS_DOSAGE", head, i, "shared")
        elif not self.rules.footnotes.search(words) and (
            dosed or self.rules.whole_dosages.search(words)
        ):
            if formula is not None:
                yield Relation("HAS_DOSAGE", formula, i, "nearest")
        else:
            heads = waiting if dosed and self.rules.footnotes.search(words) else [taker]
            yield Relation("HAS_DOSAGE", heads[-1] if heads else taker, i, "adjacent")

    def needling(self) -> Iterator[Relation]:
        for i, label in enumerate(self.labels):
            if label != "ACUPOINT":
                continue
            head = self.previous(i, ("PROCEDURE",))
            if head is None and i + 1 < len(self.labels) and self.labels[i + 1] == "PROCEDURE":
                head = i + 1 if self.is_adjacent(i, i + 1) else None
            elif head is not None and not self.rules.needles.search(self.surface(head)):
                head = self.previous(head, ("PROCEDURE",)) if head else None
            if head is not None:
                yield Relation("NEEDLED_AT", head, i, "nearest")

    def visits(self) -> Iterator[list[int]]:
        """The mentions of each visit that has any."""
        for _, inside in groupby(range(len(self.mentions)), key=self.visit_of.__getitem__):
            yield list(inside)

    def diagnoses(self) -> Iterator[Relation]:
        """Each syndrome with the nearest TCM disease of its visit, or of the last that names one;
        where there is none, with the first other of the visit."""
        diseases: list[int] = []
        rule = "visit"
        for inside in self.visits():
            if named := [i for i in inside if self.labels[i] == "TCM_DISEASE"]:
                diseases, rule = named, "nearest"
            elif rule == "visit":
                others = [i for i in inside if self.labels[i] == "WM_DISEASE"]
                diseases = others[:1] or diseases
            starts = [self.mentions[d].start for d in diseases]
            for i in inside:
                if self.labels[i] != "SYNDROME" or not diseases:
                    continue
                start = self.mentions[i].start
                at = bisect_right(starts, start)
                head = min(
                    diseases[max(at - 1, 0) : at + 1],
                    key=lambda d: abs(self.mentions[d].start - start),
                )
                yield Relation("DIFFERENTIATED_AS", head, i, rule)
                j = head - 1  # 中风（中经络）: both
                while j >= 0 and self.labels[j] == "TCM_DISEASE" and len(self.gap(j, j + 1)) < 3:
                    yield Relation("DIFFERENTIATED_AS", j, i, "shared")
                    j -= 1

    def visit_level(self) -> Iterator[Relation]:
        """Of a visit and its syndromes; a later visit that names none has those named last."""
        named: list[int] = []
        for inside in self.visits():
            for i in inside:
                if self.labels[i] in OF_THE_VISIT:
                    yield Relation(OF_THE_VISIT[self.labels[i]], VISIT, i, "visit")
            shown = _Runs(self, inside, SHOWN)
            treated = _Runs(self, inside, (*SHOWN, *TREATMENTS))
            for _, item in groupby(inside, key=self.item_of.__getitem__):
                own = list(item)
                # 1.肝郁证：胃胀。2.脾虚证：乏力。: each has its own.
                has_own = self.is_item(own[0]) and "SYNDROME" in [self.labels[i] for i in own]
                shown_here = _Runs(self, own, SHOWN) if has_own else shown
                treated_here = _Runs(self, own, (*SHOWN, *TREATMENTS)) if has_own else treated
                for i in own:
                    label = self.labels[i]
                    if label in OF_THE_SYNDROME:
                        runs = shown_here if label in SHOWN else treated_here
                        for head in runs.of(i) or named:
                            yield Relation(OF_THE_SYNDROME[label], head, i, "visit")
            named = shown.runs[-1] if shown.runs else named


class _Runs:
    """The syndromes among some mentions, in runs that are one diagnosis: nothing of `breaks` lies
    between, and none is named twice. So what is said again has its own, and is no one else's."""

    def __init__(self, reader: _Reader, inside: Sequence[int], breaks: Sequence[str]):
        self.reader = reader
        self.runs: list[list[int]] = []
        names: set[str] = set()
        broken = True
        for i in inside:
            if reader.labels[i] == "SYNDROME":
                name = reader.surface(i)
                if broken or name in names:
                    self.runs.append([])
                    names, broken = set(), False
                self.runs[-1].append(i)
                names.add(name)
            elif reader.labels[i] in breaks:
                broken = True
        self.starts = [run[0] for run in self.runs]

    def of(self, i: int) -> list[int]:
        """Findings come before the diagnosis, its treatment after; of its cause, the nearest."""
        at = bisect_right(self.starts, i)
        before, after = self.runs[max(at - 1, 0) : at], self.runs[at : at + 1]
        if not before or not after:
            return (before or after or [[]])[0]
        label = self.reader.labels[i]
        if label == "PATHOGENESIS":
            mentions = self.reader.mentions
            since = mentions[i].start - mentions[before[0][-1]].end
            return before[0] if since <= mentions[after[0][0]].start - mentions[i].end else after[0]
        return before[0] if label in TREATMENTS else after[0]
