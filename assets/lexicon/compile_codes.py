"""Compile the tables of the component ``tcm_linker`` from the lexicon tables here.

    python compile_codes.py [TARGET]

TARGET: spacy_tcm/resources/codes by default. One table for a label: ``term``, ``aliases`` (joined
by |), ``code`` (system:code, verified ones), ``source`` (a letter, see ``SOURCES``). Other names
that the linker finds by its rules (a pattern without 证, a formula with 加减, a processed herb) are
left out. The same tables give the same bytes.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from spacy_tcm.herbs import HerbNames, read_words
from spacy_tcm.lexicon import Entry, read_tables

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "spacy_tcm" / "resources" / "codes"
LABELS = (
    "SYMPTOM SIGN BODY_PART TEST TCM_DISEASE WM_DISEASE SYNDROME PATHOGENESIS PRINCIPLE "
    "FORMULA HERB DRUG PROCEDURE ACUPOINT"
).split()
# The first that a source names.
SOURCES = {
    "gov.cn 2020": "N",
    "GB/T 16751": "N",
    "nricmig": "I",
    "SymMap": "M",
    "TCMSP": "K",
    "keviness": "K",
    "nxx07": "O",
    "spacy_tcm": "S",
}
POINTS = "WHO-acupoint"


def letter(source: str) -> str:
    return next((mark for name, mark in SOURCES.items() if name in source), "S")


def read_authored(name: str) -> list[tuple[str, list[str]]]:
    lines = (HERE / "authored" / f"{name}.txt").read_text(encoding="utf8").splitlines()
    pairs = (line.split(":") for line in lines if line and not line.startswith("#"))
    return [(head.strip(), rest.split()) for head, rest in pairs]


def herb_rows(entries: list[Entry]) -> tuple[dict[str, list[str]], dict[str, Entry]]:
    words = read_words()
    aliases = {e.term: e.preferred for e in entries if e.preferred}
    names = {e.term for e in entries}
    herbs = HerbNames(words, names, aliases)
    terms = {e.term: e for e in entries}
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        found = herbs.resolve(name)
        if [h.name for h in found] == [name] and not found[0].processing:
            groups.setdefault(name, [])
    for alias, name in sorted(aliases.items()):
        known = alias in words["aliases"] or alias in groups or alias in words["processed"]
        if name in groups and not known:
            groups[name].append(alias)
    for name in (*words["distinct"], *words["aliases"].values()):
        for herb in herbs.resolve(name):
            groups.setdefault(herb.name, [])
            terms.setdefault(herb.name, Entry(herb.name, "HERB", "", "spacy_tcm authors"))
    return groups, terms


def rows(label: str, entries: list[Entry]) -> list[tuple[str, str, str, str]]:
    terms = {e.term: e for e in entries}
    codes = {e.term: e.code for e in entries if e.code}
    if label == "HERB":
        groups, terms = herb_rows(entries)
    else:
        groups = {e.term: [] for e in entries if not e.preferred}
        for e in entries:
            ruled = (
                (label == "SYNDROME" and e.preferred == e.term + "证")
                or (label == "ACUPOINT" and e.term == e.preferred + "穴")
                or (label == "FORMULA" and "grammar" in e.source)
                or (label == "PROCEDURE" and e.preferred == e.term + "疗法")
            )
            if e.preferred and not ruled:
                groups.setdefault(e.preferred, []).append(e.term)
            if e.preferred and e.code:
                codes.setdefault(e.preferred, e.code)
    if label == "TCM_DISEASE":  # 泄泻 and 泄泻病 are one
        for term in [t for t in groups if t + "病" in groups]:
            groups[term + "病"] += [term, *groups.pop(term)]
            if term in codes:
                codes.setdefault(term + "病", codes[term])
    if label == "ACUPOINT":
        for meridian, points in read_authored("acupoint_codes"):
            codes |= {p: f"{POINTS}:{meridian}{n}" for n, p in enumerate(points, 1)}
    if label in ("SYMPTOM", "SIGN"):
        for name, others in read_authored("finding_aliases"):
            if label == "SYMPTOM" or name in groups:
                for other in others:
                    if not groups.get(other):
                        groups.pop(other, None)
                groups.setdefault(name, []).extend(others)
                terms.setdefault(name, Entry(name, label, "", "spacy_tcm authors"))
    return [
        (
            term,
            "|".join(sorted(set(aliases) - {term})),
            codes.get(term, "").replace("ICD11-TM1", "ICD-11-TM1"),
            letter(terms[term].source) if term in terms else "S",
        )
        for term, aliases in sorted(groups.items())
    ]


def characters(texts: set[str]) -> dict[str, str]:
    """Traditional or variant character -> the one that our terms have. Needs opencc."""
    from opencc import OpenCC

    used = sorted(set("".join(texts)))
    found: dict[str, str] = {}
    for config in ("s2t", "s2tw", "s2hk"):
        convert = OpenCC(config).convert
        for character in used:
            other = convert(character)
            if len(other) == 1 and other not in used:
                found.setdefault(other, character)
    # One simplified character for several traditional ones, of which the converter names one.
    back = OpenCC("t2s").convert
    for code in range(0x4E00, 0x9FA6):
        character = chr(code)
        other = back(character)
        if other != character and len(other) == 1 and other in used and character not in used:
            found.setdefault(character, other)
    return dict(sorted(found.items()))


def compile_codes(target: Path, with_characters: bool = True) -> None:
    by_label: dict[str, list[Entry]] = defaultdict(list)
    for entry in read_tables(HERE):
        by_label[entry.category].append(entry)
    texts = set()
    for label in LABELS:
        lines = ["term\taliases\tcode\tsource"]
        for row in rows(label, by_label[label]):
            lines.append("\t".join(row))
            texts |= {row[0], row[1]}
        text = "\n".join(lines) + "\n"
        (target / f"{label.lower()}.tsv").write_bytes(text.encode())
    if with_characters:
        made = json.dumps(characters(texts), ensure_ascii=False, separators=(",", ":"))
        (target / "characters.json").write_bytes(made.encode() + b"\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path, nargs="?", default=TARGET)
    compile_codes(parser.parse_args().target)
