"""Compile the lexicon tables beside this file.

    python compile.py SOURCE_DIR

SOURCE_DIR holds the public name lists described in README.md; ``authored/`` holds what was written
by hand. The same sources always give the same bytes.
"""

import argparse
import csv
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from spacy_tcm.lexicon import Entry, format_tsv, read_tables
from spacy_tcm.tags import LABELS, LABELS_ZH

HERE = Path(__file__).parent
HAND = "spacy_tcm authors"
GRAMMAR = "spacy_tcm grammar"
TM1 = "nricmig/Nricm_TWCMIG"
MAX_CHARS = 12

# Characters that the sources' scanning confused, and obsolete or Japanese forms.
_REPAIR = str.maketrans("剌髙痩淸靑虛潰癭餠", "刺高瘦清青虚溃瘿饼")


def read_authored(name: str) -> Iterator[tuple[str, list[str]]]:
    """Lines ``key: value value ...`` of ``authored/NAME.txt``."""
    for line in (HERE / "authored" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            key, _, values = line.partition(":")
            yield key.strip(), values.split()


_EXCLUDED = {kind: frozenset(terms) for kind, terms in read_authored("excluded")}


# --- reading -----------------------------------------------------------------------------------


def read_source(folder: Path) -> dict[str, dict[str, str]]:
    """The public lists. RETURNS: {their category: {term: source}}"""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in ("gov_terms_2020", "ontology_names", "acupoints", "formula_herb"):
        with open(folder / f"{name}.tsv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                source = short_source(name, row["source"])
                category = row["category"]
                if name == "ontology_names":
                    category += " (ontology)"
                found[category].setdefault(clean(row["term"]), source)
    with open(folder / "formula_composition.json", encoding="utf-8") as file:
        for formula in json.load(file):
            found["FORMULA"].setdefault(clean(formula), "keviness@4e00b750")
    return found


def short_source(name: str, source: str) -> str:
    """Which list a name comes from, without serial numbers and remarks."""
    if name == "acupoints":
        return "keviness@4e00b750"
    repository = source.split()[0]
    for mark, title in (
        ("16751.1", "GB/T 16751.1"),
        ("16751.2", "GB/T 16751.2"),
        ("16751.3", "GB/T 16751.3"),
        ("SymMap", "SymMap 2.0"),
        ("TCMSP", "TCMSP"),
        ("gov.cn", "gov.cn 2020"),
    ):
        if mark in source:
            return f"{title}, {repository}"
    return repository


def clean(term: str) -> str:
    return unicodedata.normalize("NFC", term).translate(_REPAIR).strip().strip(".。")


def is_name(term: str) -> bool:
    """Whether it is one name: Han characters only, neither a single one nor a phrase."""
    han = all("CJK UNIFIED" in unicodedata.name(character, "") for character in term)
    return han and 2 <= len(term) <= MAX_CHARS and term not in _EXCLUDED["damaged"]


def names(source: dict[str, str]) -> dict[str, str]:
    return {term: origin for term, origin in source.items() if is_name(term)}


# --- one function for each table ---------------------------------------------------------------

_STAGE = re.compile("(期|期类|证类|[轻中重一二三]度|度类)$")
# Without 证 these are no patterns but anatomy or a cause.
_NOT_BARE = re.compile(
    "^(.经|..经|.轮|.分|.脉|..脉|经脉|络脉|奇经|外伤|伤酒|伤食|伤乳|结石|石阻|惊恐|.脏兼|..兼|兼夹"
    "|[太少]阳|[太少]阴|阳明|厥阴|足.*经|手.*经|.*兼夹|.*经腑)$"
)


def patterns(lists: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """Patterns, each also without its final 证, and the ICD-11 codes of some."""
    codes = {term: f"ICD11-TM1:{code}" for code, (term,) in _codes() if code[:2] in ("SE", "SF")}
    found = names(lists["SYNDROME (ontology)"]) | names(lists["SYNDROME"])
    found = {term: origin for term, origin in found.items() if not _STAGE.search(term)}
    for term in _EXCLUDED["not a pattern"]:
        found.pop(term, None)
    for term in codes:
        found.setdefault(term if term.endswith("证") else term + "证", TM1)
    bare = {
        term[:-1]: origin
        for term, origin in found.items()
        if term.endswith("证") and len(term) > 2 and not _NOT_BARE.match(term[:-1])
    }
    for term, origin in (bare | found).items():
        formal = term + "证"
        code = codes.get(term) or codes.get(term.removesuffix("证"), "")
        yield Entry(
            term,
            "SYNDROME",
            formal if formal in found else "",
            f"{origin}; {TM1}" if code and origin != TM1 else origin,
            code,
        )


def diseases(lists: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """TCM diseases. Names that only the ontology has are fragments of definitions."""
    codes = {
        term: f"ICD11-TM1:{code}" for code, (term,) in _codes() if code[:2] in ("SA", "SB", "SC")
    }
    found = {}
    for term, origin in lists["DISEASE_TCM"].items():
        inner = re.fullmatch(r"[^(（]*[(（]([^)）]*病)[)）]", term)
        found[inner[1] if inner else term] = origin
    found = dict.fromkeys(codes, TM1) | names(found)
    for term, origin in found.items():
        if re.search("类病$|^.系病$|^.科.*病$|类中毒$", term):
            continue
        code = codes.get(term, "")
        source = f"{origin}; {TM1}" if code and origin != TM1 else origin
        yield Entry(term, "TCM_DISEASE", "", source, code)


_ACT = re.compile("(疗法|手法|按摩|牵引法|麻醉法|灌注法|[治烙割拔拖线]法|截根法|垫棉法|鸣天鼓)$")
_HEADING = re.compile("^(其他|杂)|治法|^治.*法$|术语|^治则$")


def principles(lists: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """Treatment principles and, among them in the sources, acts of treatment."""
    found = names(lists["EFFICACY"] | lists["TREATMENT_PRINCIPLE (ontology)"])
    found = {term: origin for term, origin in found.items() if "用于" not in term}
    for term in _names_of_findings(lists):
        found.pop(term, None)
    for term, origin in (found | names(lists["TREATMENT_PRINCIPLE"])).items():
        if not _ACT.search(term):
            if not _HEADING.search(term) and len(term) <= 8:
                yield Entry(term, "PRINCIPLE", "", origin)
        elif not _HEADING.search(term):
            yield Entry(term, "PROCEDURE", "", origin)
            stem = term.removesuffix("疗法")
            if stem != term and len(stem) > 1 and stem not in _EXCLUDED["not an act"]:
                yield Entry(stem, "PROCEDURE", term, origin)


def _names_of_findings(lists: dict[str, dict[str, str]]) -> set[str]:
    """What the list of effects names that is no effect."""
    return (
        _EXCLUDED["not an effect"]
        | lists["SYMPTOM (ontology)"].keys()
        | lists["DISEASE_TCM"].keys()
    )


def formulas(lists: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """Formulas and other names of theirs, each also with the words for modification."""
    found: dict[str, tuple[str, str]] = {}  # name -> preferred name, source
    for term, origin in lists["FORMULA"].items():
        name, *others = re.split(r"[（(：:、）)]|又名|原名|简称", term)
        for other in filter(is_name, others):
            found[other] = (name, origin)
        found[name] = ("", origin)
    for name, others in read_authored("formulas"):
        preferred, origin = found.setdefault(name, ("", HAND))
        for other in others:
            if other not in found:
                found[other] = (preferred or name, HAND)
    found = {name: rest for name, rest in found.items() if is_name(name)}
    for name, (preferred, origin) in found.items():
        yield Entry(name, "FORMULA", preferred, origin)
        changed = [name + change for change in ("加减", "化裁", "加味", "加减化裁")]
        if not name.startswith(("加味", "加减")):
            changed += ["加味" + name, "加减" + name]
        for modified in changed:
            if modified not in found:
                yield Entry(modified, "FORMULA", preferred or name, GRAMMAR)


# A dose or a processing word that the source's recipe left on the name.
_REST_OF_RECIPE = re.compile("([一二三四五六七八九十半]+[钱两分片枚个].*|各|擘)$")


def herbs(lists: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """Decoction pieces, other names and processed forms."""
    found: dict[str, str] = {}
    for term, origin in (lists["HERB (ontology)"] | lists["HERB"]).items():
        name = _REST_OF_RECIPE.sub("", term.split("[")[0])
        for process in "炙炒":
            if name.endswith(process):
                name = process + name[:-1]
        if is_name(name) and name not in _EXCLUDED["not a herb"]:
            found.setdefault(name, origin)
    aliases = {alias: herb for herb, others in read_authored("herb_aliases") for alias in others}
    canonical = [herb for herb, _ in read_authored("herb_aliases")]
    for herb in canonical:
        aliases.pop(herb, None)
    for name in (*canonical, *aliases):
        found.setdefault(name, HAND)
    yield from (Entry(name, "HERB", aliases.get(name, ""), found[name]) for name in found)
    for herb, forms in read_authored("herb_forms"):
        for form in forms:
            name = form + herb if len(form) == 1 else form
            if name not in found:
                yield Entry(name, "HERB", aliases.get(name, ""), HAND)


def acupoints(lists: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """Points, each also with 穴, meridians in full and short, and the extraordinary ones."""
    found: dict[str, tuple[str, str]] = {}
    for meridian, origin in lists["MERIDIAN"].items():
        found[meridian] = ("", origin)
        long = re.fullmatch("([手足]..)(.*)(经)", meridian)
        if long:
            limb, organ, _ = long.groups()
            for short in (organ + "经", limb, limb + "经"):
                found[short] = (meridian, HAND)
    points = {name: ("", origin) for name, origin in lists["ACUPOINT"].items()}
    for name, others in read_authored("acupoints"):
        points.setdefault(name, ("", HAND))
        points.update(dict.fromkeys(others, (name, HAND)))
    for name, (preferred, _) in list(points.items()):
        if not name.endswith(("穴", "脉", "经")):
            points.setdefault(name + "穴", (preferred or name, HAND))
    for name, (preferred, origin) in (found | points).items():
        if is_name(name):
            yield Entry(name, "ACUPOINT", preferred, origin)


_WESTERN = re.compile(
    "(炎|癌|肿瘤|结核|综合征|硬化|增生|脂血症|血脂|血压|血压病|血友病|紫癜|骨折|小结|息肉|脱垂|结石|"
    "减少症|心绞痛|缺血|肌劳损|神经痛|神经衰弱|麻痹|狼疮|消化道出血|溃疡出血|扩张|白塞病|肺结核咳嗽)$"
)


def symptoms(lists: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """Symptoms; tongue, pulse and biomedical diseases among them in the source set apart."""
    other = lists["DISEASE_TCM"].keys() | lists["SYNDROME (ontology)"].keys()
    for term, origin in names(lists["SYMPTOM (ontology)"]).items():
        if term.startswith("脉"):
            yield Entry(term, "PULSE", "", origin)
        elif term.startswith("舌") and not term.startswith(("舌强", "舌生", "舌糜")):
            if "苔黄" not in term:  # the body and the coating are two entities
                yield Entry(term, "TONGUE", "", origin)
        elif _WESTERN.search(term):
            yield Entry(term, "WM_DISEASE", "", origin)
        elif term not in other:
            yield Entry(term, "SYMPTOM", "", origin)


def clinical() -> Iterator[Entry]:
    """The words of real records that formal names miss."""
    for category, terms in read_authored("clinical"):
        yield from (Entry(term, category, "", HAND) for term in terms if len(term) > 1)


def _codes() -> Iterator[tuple[str, list[str]]]:
    return read_authored("codes")


# --- the grammar of tongue and pulse -----------------------------------------------------------


def tongue() -> Iterator[Entry]:
    """Body: subject x colour x change. Coating: subject x amount x colour x texture."""
    words = dict(read_authored("grammar"))
    terms = set()
    for colour in words["body colour"]:
        terms.add("舌色" + colour)
        for subject, change in product(("舌", "舌质", "舌体"), ["", *words["body change"]]):
            if colour[-1] not in change and not ("胖" in colour and "瘦" in change):
                terms.add(subject + colour + change)
    for shape in words["body shape"]:
        terms.add("舌" + shape)
        if shape.startswith(("边", "有", "中", "两", "尖")) and len(shape) > 2:
            terms.add(shape)
    for amount, colour, texture in product(
        ["", *words["coating amount"]],
        ["", *words["coating colour"]],
        ["", *words["coating texture"]],
    ):
        if amount + colour + texture:
            terms |= {"苔" + amount + colour + texture, "舌苔" + amount + colour + texture}
    for rest in words["coating rest"]:
        terms |= {"苔" + rest, "舌苔" + rest}
    return (Entry(term, "TONGUE", "", GRAMMAR) for term in terms)


def pulse() -> Iterator[Entry]:
    """Place x quality x strength; the 28 pulses and the compounds in use."""
    words = dict(read_authored("grammar"))
    singles = words["pulse"]
    qualities = [*singles, *words["pulse pair"]]
    terms = {place + quality for place, quality in product(words["pulse place"], qualities)}
    terms |= {quality + "脉" for quality in singles if quality != "动"}  # 动脉 is an artery
    for place, quality in product(("脉", "脉象", "左脉", "右脉", "双脉"), words["pulse triple"]):
        terms.add(place + quality)
    for quality, strength in product(qualities, words["pulse strength"]):
        if strength[-1] not in quality:
            terms.add("脉" + quality + strength)
    return (Entry(term, "PULSE", "", GRAMMAR) for term in terms)


# --- all of them -------------------------------------------------------------------------------


def unique(entries: Iterable[Entry]) -> list[Entry]:
    """Sorted, one entry for a term and category: the one that says most."""
    best: dict[tuple[str, str], Entry] = {}
    for entry in sorted(entries, key=lambda e: (e.code, e.preferred, e.source)):
        best[entry.term, entry.category] = entry
    return sorted(best.values())


def compile_tables(source_dir: Path, target: Path) -> None:
    lists = read_source(source_dir)
    tables = {
        "patterns": patterns(lists),
        "diseases": diseases(lists),
        "principles": principles(lists),
        "formulas": formulas(lists),
        "herbs": herbs(lists),
        "acupoints": acupoints(lists),
        "symptoms": symptoms(lists),
        "tongue": tongue(),
        "pulse": pulse(),
        "clinical": clinical(),
    }
    for name, entries in tables.items():
        (target / f"{name}.tsv").write_bytes(format_tsv(unique(entries)).encode())


def counts(entries: list[Entry]) -> str:
    """The Markdown table of the README."""
    lines = ["| category | | terms | other names | codes |", "|---|---|---:|---:|---:|"]
    for label in LABELS:
        own = [entry for entry in entries if entry.category == label]
        terms, aliases, codes = (
            len({entry.term for entry in chosen})
            for chosen in (own, [e for e in own if e.preferred], [e for e in own if e.code])
        )
        lines.append(f"| {label} | {LABELS_ZH[label]} | {terms} | {aliases} | {codes} |")
    lines.append(f"| distinct terms | | {len({entry.term for entry in entries})} | | |")
    return "\n".join(lines)


def write_readme(target: Path) -> None:
    """Put the counts between the markers."""
    path = target / "README.md"
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- counts -->\n")
    _, _, after = rest.partition("<!-- end counts -->")
    table = counts(read_tables(target))
    text = f"{before}<!-- counts -->\n{table}\n<!-- end counts -->{after}"
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source_dir", type=Path, help="folder of the public name lists")
    compile_tables(parser.parse_args().source_dir, HERE)
    write_readme(HERE)
    print(f"{len({entry.term for entry in read_tables(HERE)})} distinct terms")
