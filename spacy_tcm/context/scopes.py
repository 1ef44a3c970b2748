"""How far a cue reaches: forward over a list of entities, or backward from what follows one."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

# Where a cue's reach ends at the latest.
CLAUSE_END = "，,。；;：:！!？?\n\r"
SENTENCE_END = "。；;！!？?\n\r"
_QUOTES = "“”\"'‘’（）() \u3000\t"
# These deny one word, not a list: 不渴、乏力.
_SINGLE = ("不", "未")
# So much may stand between a cue and the first entity it speaks of (characters).
_REACH = 12


class Entity(NamedTuple):
    """start, end: in characters."""

    start: int
    end: int
    label: str


def compile_any(patterns: Sequence[str], end: bool = False) -> re.Pattern[str]:
    """One pattern for several; longer ones first. end: it must reach the end of the string."""
    ordered = sorted(_strings(patterns), key=lambda p: -len(p))
    joined = "|".join(f"(?:{pattern})" for pattern in ordered) or "(?!)"
    return re.compile(f"(?:{joined})$" if end else joined)


def _strings(values: Sequence[str]) -> list[str]:
    if isinstance(values, str) or any(not isinstance(v, str) for v in values):
        raise TypeError("a list of texts is needed")
    return list(values)


class Scopes:
    """The reach of cues in one text.

    entities: flat, in order. free: where a cue may stand, that is, outside the entities and the
    expressions that hold a cue but are none (无不, 无明显诱因). own_subject: how an item begins
    that no denial before its comma reaches.
    """

    def __init__(
        self,
        text: str,
        entities: Sequence[Entity],
        no_cue: re.Pattern[str],
        stops: re.Pattern[str],
        joins: re.Pattern[str],
        own_subject: re.Pattern[str],
    ):
        self.text, self.entities, self.stops, self.joins = text, entities, stops, joins
        self.own_subject = own_subject
        self._taken = [False] * (len(text) + 1)
        for entity in entities:
            self._take(entity.start, entity.end)
        for m in no_cue.finditer(text):
            if not any(self._taken[m.start() : m.end()]):
                self._take(m.start(), m.end())

    def _take(self, start: int, end: int) -> None:
        self._taken[start:end] = [True] * (end - start)

    def before(
        self, cues: re.Pattern[str], labels: Collection[str], over_commas: re.Pattern[str]
    ) -> Iterator[tuple[int, re.Match[str]]]:
        """(index, cue) of each entity that a cue before it reaches: the first one in its clause,
        and the list that this begins. A comma ends the list, unless ``over_commas`` begins it and
        bare items, or those of a history, follow: 否认发热，头痛; 否认糖尿病，冠心病史."""
        for first, entity in enumerate(self.entities):
            if entity.label not in labels:
                continue
            cue = self._cue_before(first, cues, labels)
            if cue is None:
                continue
            yield first, cue
            if cue[0] in _SINGLE:
                continue
            at = first
            while (
                following := self._next_in_list(at, labels, over_commas.match(cue[0]))
            ) is not None:
                at = following
                yield at, cue

    def _cue_before(
        self, first: int, cues: re.Pattern[str], labels: Collection[str]
    ) -> re.Match[str] | None:
        start = self.entities[first].start
        at = max(start - _REACH - 8, 0)
        for c in CLAUSE_END + "、":
            at = max(at, self.text.rfind(c, 0, start) + 1)
        # An earlier entity of the labels is the one that a cue before it speaks of.
        for entity in reversed(self.entities[:first]):
            if entity.end <= at:
                break
            if entity.label in labels:
                at = max(at, entity.end)
                break
        found = None
        position = at
        while position < start:
            # Up to the entity: a pattern that asks for an end ($) must stand right before it.
            m = cues.match(self.text, position, start)
            if m and m.end() > position and not any(self._taken[position : m.end()]):
                if start - m.end() <= _REACH and not self._stopped(m.end(), start):
                    found = m
                position = m.end()
            else:
                position += 1
        return found

    def _stopped(self, start: int, end: int) -> bool:
        """Whether what stands between a cue and an entity begins something new."""
        at = start
        while m := self.stops.search(self.text, at, end):
            if not any(self._taken[m.start() : m.end()]):
                return True
            at = m.start() + 1
        return False

    def _next_in_list(self, at: int, labels: Collection[str], commas: object) -> int | None:
        """The entity that goes on the list, if there is one; parts of the body are passed over."""
        end, following = self.entities[at].end, at + 1
        while following < len(self.entities) and self.entities[following].label in (
            "BODY_PART",
            "SEVERITY",
        ):
            following += 1
        if following == len(self.entities) or self.entities[following].label not in labels:
            return None
        skipped = following > at + 1
        gap = self.text[end : self.entities[following].start]
        if skipped:
            for entity in self.entities[at + 1 : following]:
                gap = gap.replace(self.text[entity.start : entity.end], "", 1)
        bare = gap.strip(_QUOTES)
        if commas and re.fullmatch(r"(?:等|病史|史)?[，,]", bare):
            start, end = self.entities[following][:2]
            tail = re.match(r"[^，,。；;\n]*史", self.text[start:])
            if tail:
                return None if re.search(r"\d", tail[0]) else following
            # What is told more of (咳嗽3天), or begins another topic (纳差), is there.
            is_bare = not skipped and _BARE.match(self.text, self._joined_end(following))
            return None if self.own_subject.match(self.text, start) or not is_bare else following
        if bare == "":
            same = self.entities[following].label == self.entities[at].label
            return following if same and not skipped and "\n" not in gap else None
        return following if self.joins.fullmatch(bare) else None

    def _joined_end(self, at: int) -> int:
        """Where the entities of one label end that are written as one: 头晕头痛."""
        end, label = self.entities[at][1:]
        while at + 1 < len(self.entities) and self.entities[at + 1][::2] == (end, label):
            at += 1
            end = self.entities[at].end
        return end

    def after(self, cues: re.Pattern[str], labels: Collection[str]) -> Iterator[int]:
        """The index of each entity right after which a cue stands, and of the list before it."""
        for last, entity in enumerate(self.entities):
            if entity.label not in labels:
                continue
            if not cues.match(self.text, self._skip_adverbs(entity.end)):
                continue
            yield last
            at = last
            while at and self.entities[at - 1].label == entity.label:
                gap = self.text[self.entities[at - 1].end : self.entities[at].start]
                if gap and not self.joins.fullmatch(gap.strip(_QUOTES)):
                    break
                at -= 1
                yield at

    def _skip_adverbs(self, at: int) -> int:
        m = _ADVERBS.match(self.text, at)
        return m.end() if m else at

    def clause(self, at: int, ends: str = CLAUSE_END) -> tuple[int, int]:
        """Start and end of the clause (or, by other ``ends``, the sentence) around a character."""
        start = max(self.text.rfind(c, 0, at) for c in ends) + 1
        stops = [i for c in ends if (i := self.text.find(c, at)) >= 0]
        return start, min(stops, default=len(self.text))

    def cue_in(self, cues: re.Pattern[str], start: int, end: int) -> re.Match[str] | None:
        """The first cue there that stands outside the entities."""
        at = start
        while m := cues.search(self.text, at, end):
            if m.end() > m.start() and not any(self._taken[m.start() : m.end()]):
                return m
            at = m.start() + 1
        return None


_BARE = re.compile(r"[”\"’]?\s*(?:[、，,。；;.\n]|等|及|和|或|$)")
_ADVERBS = re.compile(r"[”\"’]?[ \u3000]*(?:均|皆|俱(?![除去])|都|亦|也|则|现)?")
