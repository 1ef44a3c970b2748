"""Codes and preferred terms of entities: exact, by another name, normalised, then fuzzy."""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.herbs import RESOURCES, default_names
from spacy_tcm.tags import LABELS

OWN = "spacy_tcm"
# Of the code systems that come with the package.
VERSIONS = {OWN: "1", "ICD-11-TM1": "TWCMIG 0.1.0", "WHO-acupoint": "2008"}
COLUMNS = ("system", "code", "term", "aliases", "label")

# Where a name that is not found among its label's own is looked up, too.
_BESIDE = {
    "SYMPTOM": ("SIGN",),
    "SIGN": ("SYMPTOM",),
    "FORMULA": ("DRUG",),
    "DRUG": ("FORMULA",),
    "PATHOGENESIS": ("SYNDROME",),
    "TCM_DISEASE": ("WM_DISEASE",),
    "WM_DISEASE": ("TCM_DISEASE",),
}
_CHANGES = re.compile("(加减化裁|加减|化裁|加味|出入|增损|增减|减味|改汤|原方|意|方)$")
_FORMS = ("汤", "散", "丸", "饮", "煎", "丹", "膏", "饮子", "颗粒", "胶囊")
_PATTERN_ENDS = re.compile("(之?证候|证型|证|症|型|之证)$")
_DRUG_ENDS = re.compile(
    "[钠钙]?(缓释|控释|肠溶|分散|咀嚼|泡腾)?(片|胶囊|注射液|颗粒|口服液|混悬液|软膏|乳膏|滴眼液|凝胶)$"
)
_MARKS = re.compile(r"[\s,.;:()\[\]、，。；：（）【】《》“”\"'·_/-]+")
# Words that a finding may carry without being another one.
_AROUND = re.compile(
    "^(时有|偶有|偶感|时感|自觉|常有|伴有|伴|有|常|时|感|觉|略|稍|轻微|明显)|(明显|感|时作|症状)$"
)
# A fuzzy match that turns on one of these would turn the meaning.
_CRITICAL = set(
    "阴阳虚实寒热表里气血津痰湿燥风火暑心肝脾肺肾胃胆肠膀胱胞脑左右上下内外前后大小多少轻重急慢无不未非"
    "先早迟迟数浮沉滑涩弦细红白黄黑青紫淡暗鲜干手足头眼目耳鼻口舌咽喉颈肩背腰腹胸胁膝肘腕踝髋指趾"
    "一二三四五六七八九十12345678ⅠⅡⅢⅣ型期度亢衰盛损滞瘀郁结闭脱冷温凉热清补泻升降通止生化散收利泄渴"
    "刺灼隐绞胀闷压抽酸麻痒黏粘光刺唇毒网"
)


class Concept(NamedTuple):
    """id: the project's own, stable as long as label and preferred term are. codes: (system, code)
    pairs, the user's first. source: a letter, as in ``resources/README.md``; "U" is the user's."""

    id: str
    label: str
    term: str
    codes: tuple[tuple[str, str], ...]
    source: str


def make_id(label: str, term: str) -> str:
    """SYNDROME-1f3a5c7e90: of the label and the preferred term alone."""
    return f"{label}-{hashlib.blake2b(f'{label}|{term}'.encode(), digest_size=5).hexdigest()}"


class CodeTables:
    """The package's terms, merged with those of the user, which win.

    user_rows: dicts with `COLUMNS`; aliases joined by "|". label may be empty: then the term is
        looked up among all labels, and must be one of ours. A row whose term we have, by whatever
        name, gives that concept another code; else it is a concept of its own. What the user calls
        by a name is what that name means.
    """

    def __init__(self, user_rows: Iterable[dict[str, str]] = (), fuzzy_above: float = 85.0):
        """RAISES ModelError: a row is malformed."""
        self.user_rows = [{c: (row.get(c) or "").strip() for c in COLUMNS} for row in user_rows]
        self.fuzzy_above = fuzzy_above
        for number, row in enumerate(self.user_rows, 1):
            problem = _find_problem(row)
            if problem:
                raise ModelError(Errors.E631.format(number=number, reason=problem))
        self._index: dict[str, _Index] | None = None
        self._cached = lru_cache(maxsize=20_000)(self._link)

    def __getstate__(self) -> dict[str, Any]:
        return {"user_rows": self.user_rows, "fuzzy_above": self.fuzzy_above}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def link(self, label: str, surface: str) -> list[dict[str, Any]]:
        """The codes of one entity, best first; [] where it is not linked.

        RETURNS: ``{"system", "code", "display", "version", "score", "method", "concept",
            "source"}`` each, and ``part`` where the surface names several things (甲汤合乙汤): each
            of them has candidates of its own. Codes of the same ``concept`` stand for the same
            thing.
        """
        return [dict(found) for found in self._cached(label, surface)]

    def _link(self, label: str, surface: str) -> tuple[dict[str, Any], ...]:
        if self._index is None:
            self._index = _build(self.user_rows)
        text = normalise(surface)
        if not text:
            return ()
        for finder in (self._find_known, self._find_parts, self._find_similar):
            for name in (label, *_BESIDE.get(label, ())):
                if name in self._index:
                    found = finder(self._index[name], name, surface.strip(), text)
                    if found:
                        return tuple(found)
        return ()

    def _find_known(
        self, index: "_Index", label: str, surface: str, text: str
    ) -> list[dict[str, Any]]:
        for form, score, method in _variants(label, surface, text):
            if form in index.user:
                return self._codes(index.user[form], score, method)
            if form in index.terms:
                meant = index.terms[form]
                if any(c.term == surface for c in meant):
                    return self._codes(meant, 1.0, "exact")
                return self._codes(meant, score, "alias" if method == "exact" else method)
        if label == "HERB":
            herbs = default_names().resolve(text)
            if len(herbs) == 1 and herbs[0].name in index.terms:
                herb = herbs[0]
                method = "normalised" if herb.processing else herb.method
                return self._codes(index.terms[herb.name], 0.98, method)
        return []

    def _find_parts(
        self, index: "_Index", label: str, surface: str, text: str
    ) -> list[dict[str, Any]]:
        """甲汤合乙汤, 生龙牡, 甲证兼乙证: each part, if all are known."""
        if label == "FORMULA":
            parts = re.split(r"(?<=[汤散丸饮煎丹膏方子减裁味])合|[+＋、/]", surface)
        elif label == "HERB":
            parts = [h.name for h in default_names().resolve(text)]
        elif label == "SYNDROME":
            parts = re.split(r"[，,、]|兼夹|夹杂|兼有|兼|夹|伴|挟", surface)
        else:
            return []
        parts = [part for part in map(str.strip, parts) if part]
        if len(parts) < 2:
            return []
        found = [(part, self._find_known(index, label, part, normalise(part))) for part in parts]
        if not all(codes for _, codes in found):
            return []
        return [{**code, "part": part} for part, codes in found for code in codes]

    def _find_similar(
        self, index: "_Index", label: str, surface: str, text: str
    ) -> list[dict[str, Any]]:
        if len(text) < 4 or self.fuzzy_above > 100 or label in ("HERB", "ACUPOINT", "BODY_PART"):
            return []
        from rapidfuzz import fuzz, process  # not before it is needed: see tests/test_imports.py

        near = process.extract(
            text, index.names, scorer=fuzz.ratio, score_cutoff=self.fuzzy_above, limit=8
        )
        best: dict[str, tuple[float, Concept]] = {}
        for name, score, _ in near:
            if _same_meaning(text, name):
                for concept in (*index.user.get(name, ()), *index.terms.get(name, ())):
                    if concept.id not in best:
                        best[concept.id] = (score / 100, concept)
        if not best:
            return []
        top = max(score for score, _ in best.values())
        chosen = [(s, c) for s, c in best.values() if s >= top - 0.02]
        return [code for s, c in chosen for code in self._codes((c,), round(s * 0.95, 4), "fuzzy")]

    def _codes(
        self, concepts: Sequence[Concept], score: float, method: str
    ) -> list[dict[str, Any]]:
        return [
            {
                "system": system,
                "code": code,
                "display": concept.term,
                "version": VERSIONS.get(system),
                "score": score,
                "method": method,
                "concept": concept.id,
                "source": concept.source,
            }
            for concept in concepts
            for system, code in (*concept.codes, (OWN, concept.id))
        ]


class _Index(NamedTuple):
    """Of one label. terms, user: a name as :func:`normalise` writes it -> what it may mean."""

    terms: dict[str, tuple[Concept, ...]]
    user: dict[str, tuple[Concept, ...]]
    names: list[str]


def best_id(codes: Sequence[dict[str, Any]]) -> str:
    """``system:code`` of the best code, or "" where there is none, several things are meant or may
    be, or it is only similar: about one of three similar terms is another thing."""
    if not codes or codes[0]["method"] == "fuzzy" or any("part" in code for code in codes):
        return ""
    top = [code for code in codes if code["score"] == codes[0]["score"]]
    if len({code["concept"] for code in top}) > 1:
        return ""
    return f"{codes[0]['system']}:{codes[0]['code']}"


def normalise(text: str) -> str:
    """Width, traditional characters, blanks and marks."""
    text = unicodedata.normalize("NFKC", text).translate(_characters())
    return _MARKS.sub("", text)


def _variants(label: str, surface: str, text: str) -> Iterable[tuple[str, float, str]]:
    """(name to look up, score, method), the likeliest first."""
    yield surface, 1.0, "exact"
    if text != surface:
        yield text, 0.99, "normalised"
    if label in ("SYNDROME", "PATHOGENESIS"):
        stem = _PATTERN_ENDS.sub("", text)
        if stem != text and stem:
            yield stem, 0.98, "normalised"
        if stem:
            yield stem + "证", 0.98, "normalised"
    elif label == "DRUG" and (stem := _DRUG_ENDS.sub("", text)) and stem != text:
        yield stem, 0.97, "normalised"
    elif label in ("FORMULA", "DRUG"):
        stem = text
        while (shorter := _CHANGES.sub("", stem)) != stem and len(shorter) > 1:
            stem = shorter
            yield stem, 0.98, "normalised"
        if not stem.endswith(_FORMS):
            for form in _FORMS[:7]:
                yield stem + form, 0.95, "normalised"
        else:
            for form in _FORMS[:7]:
                yield stem[:-1] + form, 0.95, "normalised"
    elif label == "ACUPOINT":
        stem = re.sub(r"^[左右双]侧?|[双左右]侧?$|穴$", "", text)
        yield stem, 0.98, "normalised"
    elif label in ("TCM_DISEASE", "WM_DISEASE"):
        yield text.removesuffix("病"), 0.97, "normalised"
        yield text + "病", 0.97, "normalised"
        if text.endswith("症"):
            yield text[:-1] + "证", 0.97, "normalised"
    elif label == "PROCEDURE":
        yield text + "疗法", 0.97, "normalised"
        yield text.removesuffix("治疗"), 0.97, "normalised"
    elif label in ("SYMPTOM", "SIGN"):
        stem = _AROUND.sub("", text)
        if len(stem) > 1 and stem != text:
            yield stem, 0.95, "normalised"


def _same_meaning(text: str, name: str) -> bool:
    """Whether the difference is none of the characters that a meaning turns on."""
    from rapidfuzz.distance import Levenshtein

    for step in Levenshtein.editops(text, name):
        changed = set()
        if step.tag in ("replace", "delete"):
            changed.add(text[step.src_pos])
        if step.tag in ("replace", "insert"):
            changed.add(name[step.dest_pos])
        if changed & _CRITICAL:
            return False
    return True


def to_simplified(text: str) -> str:
    """Of the same length: traditional characters as simplified ones, as far as they are known."""
    return text.translate(_characters())


@cache
def _characters() -> dict[int, str]:
    path = RESOURCES / "codes" / "characters.json"
    return str.maketrans(json.loads(path.read_text(encoding="utf8")))


@cache
def _our_concepts() -> tuple[tuple[Concept, tuple[str, ...]], ...]:
    """Every concept of the package with its other names."""
    found = []
    for label in LABELS:
        path = RESOURCES / "codes" / f"{label.lower()}.tsv"
        if path.is_file():
            for line in path.read_text(encoding="utf8").splitlines()[1:]:
                term, aliases, code, source = line.split("\t")
                system, _, value = code.partition(":")
                codes = ((system, value),) if code else ()
                concept = Concept(make_id(label, term), label, term, codes, source)
                found.append((concept, tuple(filter(None, aliases.split("|")))))
    return tuple(found)


def _build(user_rows: list[dict[str, str]]) -> dict[str, _Index]:
    terms: dict[str, dict[str, dict[str, Concept]]] = defaultdict(lambda: defaultdict(dict))
    preferred: dict[tuple[str, str], Concept] = {}
    for concept, aliases in _our_concepts():
        preferred[concept.label, normalise(concept.term)] = concept
        for name in (concept.term, *aliases):
            terms[concept.label][normalise(name)][concept.id] = concept
    for label, term in preferred:  # what has a concept of its own is not another's alias
        own = preferred[label, term]
        terms[label][term] = {own.id: own}
    changed: dict[str, Concept] = {}
    user: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    made: dict[str, Concept] = {}
    for row in user_rows:
        name = normalise(row["term"])
        labels = [row["label"]] if row["label"] else [k for k in terms if name in terms[k]]
        for label in labels:
            ours = list(terms[label].get(name, {}).values())
            own = Concept(make_id(label, row["term"]), label, row["term"], (), "U")
            concept = made.get(own.id) or (ours[0] if len(ours) == 1 else own)
            concept = changed.get(concept.id, concept)
            pair = (row["system"], row["code"])
            if pair not in concept.codes:
                mine = sum(system not in VERSIONS for system, _ in concept.codes)
                codes = (*concept.codes[:mine], pair, *concept.codes[mine:])
                concept = concept._replace(codes=codes)
            changed[concept.id] = made[make_id(label, row["term"])] = concept
            for alias in (row["term"], *filter(None, row["aliases"].split("|"))):
                user[label][normalise(alias)][concept.id] = concept.id
    index = {}
    for label in {*terms, *user}:
        core = {
            name: tuple(changed.get(i, c) for i, c in meant.items())
            for name, meant in terms[label].items()
        }
        mine_ = {name: tuple(changed[i] for i in meant) for name, meant in user[label].items()}
        index[label] = _Index(core, mine_, sorted({*core, *mine_}))
    return index


def _find_problem(row: dict[str, str]) -> str | None:
    for column in ("system", "code", "term"):
        if not row[column]:
            return f"'{column}' is empty"
    if row["label"] and row["label"] not in LABELS:
        return f"'label' is none of the {len(LABELS)} labels"
    return None


def read_code_table(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table, tab- or comma-separated (.csv), with `COLUMNS` in its header.

    RAISES ModelError: it cannot be read, or has no such columns.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ModelError(Errors.E630.format(path=path, cause=type(error).__name__)) from error
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    reader = csv.DictReader(io.StringIO(text), delimiter=separator)
    missing = [c for c in ("system", "code", "term") if c not in (reader.fieldnames or ())]
    if missing:
        cause = f"its header has no column {', '.join(missing)}"
        raise ModelError(Errors.E630.format(path=path, cause=cause))
    return [{c: row.get(c) or "" for c in COLUMNS} for row in reader]
