"""The results as HTML pages that need nothing else: no script, no other file, no network."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.records.exports.common import value_text
from spacy_tcm.records.job import BAD_PATH, RECORDS, SUMMARY, describe_reason
from spacy_tcm.records.pictures import find_picture, is_rendered
from spacy_tcm.tags import LABELS_ZH, TONGUE_ZH

PER_PAGE = 50
MAX_ERRORS = 200  # on the first page; errors.jsonl has them all

GROUPS: dict[str, tuple[str, ...]] = {
    "四诊": ("SYMPTOM", "SIGN", "TONGUE", "PULSE"),
    "描述": ("BODY_PART", "QUALITY", "SEVERITY", "FREQUENCY", "TIME", "TRIGGER"),
    "检查": ("TEST", "VALUE"),
    "诊断": ("TCM_DISEASE", "WM_DISEASE", "SYNDROME", "PATHOGENESIS"),
    "治疗": ("PRINCIPLE", "FORMULA", "HERB", "DRUG", "DOSAGE", "PROCEDURE", "ACUPOINT"),
}
# Background on a light page (under near-black text) and on a dark one (under near-white). Each
# group has an arc of hues; neighbours differ in lightness too. tests/records/test_page.py holds
# them to a contrast of 4.5 and to a distance from one another.
COLOURS: dict[str, tuple[str, str]] = {
    "TONGUE": ("#ffe0fb", "#45202f"),
    "PULSE": ("#f4b5d7", "#863d4a"),
    "SYMPTOM": ("#ffcbd8", "#662f2b"),
    "SIGN": ("#fdb4b7", "#854327"),
    "BODY_PART": ("#fee5df", "#44250b"),
    "QUALITY": ("#f9ba9a", "#784e04"),
    "SEVERITY": ("#ffd1a7", "#534003"),
    "FREQUENCY": ("#e8c58b", "#615a03"),
    "TIME": ("#f6ecc2", "#2a320b"),
    "TRIGGER": ("#cdd08f", "#3d6428"),
    "PRINCIPLE": ("#cee4af", "#1b4e2c"),
    "FORMULA": ("#abd9a6", "#00684d"),
    "HERB": ("#cef7dd", "#023630"),
    "DRUG": ("#8eddc6", "#016568"),
    "DOSAGE": ("#a0ebe5", "#024b58"),
    "PROCEDURE": ("#84dbe5", "#056180"),
    "ACUPOINT": ("#cef2ff", "#10304a"),
    "TEST": ("#94d4fb", "#37578f"),
    "VALUE": ("#c1deff", "#383d6c"),
    "TCM_DISEASE": ("#b4cafe", "#5a4c8b"),
    "WM_DISEASE": ("#e8e9ff", "#362545"),
    "SYNDROME": ("#d1bffb", "#734378"),
    "PATHOGENESIS": ("#edcdfe", "#5e3050"),
}
# Control characters, which would vanish or (the last two ranges) reorder what is read on the page,
# as symbols; tab and line ends stay.
VISIBLE = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"}
VISIBLE |= {
    code: f"⟨U+{code:04X}⟩"
    for code in (*range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
ZONES_ZH = {"root": "舌根", "centre": "舌中", "tip": "舌尖", "left": "左边", "right": "右边"}
SECTIONS_ZH = {
    "general": "一般项目",
    "chief_complaint": "主诉",
    "present_illness": "现病史",
    "current_symptoms": "刻下",
    "past_history": "既往史",
    "personal_history": "个人史",
    "menstrual_history": "经带胎产",
    "allergy_history": "过敏史",
    "family_history": "家族史",
    "four_examinations": "四诊",
    "tongue_pulse": "舌脉",
    "physical_examination": "体格检查",
    "specialist_examination": "专科检查",
    "auxiliary_examination": "辅助检查",
    "syndrome_analysis": "辨证分析",
    "differential_diagnosis": "鉴别诊断",
    "tcm_diagnosis": "中医诊断",
    "syndrome": "证候",
    "wm_diagnosis": "西医诊断",
    "diagnosis": "诊断",
    "treatment_principle": "治法",
    "prescription": "处方",
    "advice": "医嘱",
    "follow_up": "复诊",
    "signature": "签名",
}
# What a note says of a finding other than that it is so, now, of the patient.
QUALIFIERS_ZH = {
    "absent": "无",
    "possible": "疑",
    "past": "既往",
    "future": "拟",
    "family": "家族",
}
ROUTES_ZH = {
    "oral": "口服",
    "topical": "外用",
    "rectal": "直肠给药",
    "gargle": "含漱",
    "nasal": "鼻用",
    "eye": "眼用",
    "inhaled": "吸入",
    "nasogastric": "鼻饲",
}
SOURCES_ZH = {"text": "病历", "image": "照片", "both": "病历与照片"}
STATUS_ZH = {"none": "无照片", "ok": "已使用", "rejected": "未采用", "not_run": "未分析"}


def write_pages(out: Path, per_page: int = PER_PAGE) -> Iterator[Path]:
    """Write the results in a folder as pages, in place of those of an earlier run.

    out: a folder that `write_results` has filled, and `Pictures` with what is to be shown of the
        photos. It gets ``page.html``, ``page-2.html``, ...
    YIELDS: the path of each page when it is written; there are `count_pages`.
    RAISES RecordError: there are no results in the folder.
    """
    if not (out / SUMMARY).is_file():
        raise RecordError(Errors.E521.format(out=out))
    summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    remove_pages(out)
    n_pages = count_pages(summary["records"], per_page)
    environment = Environment(
        loader=PackageLoader("spacy_tcm", "records"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters["qualifiers"] = _qualifiers
    template = environment.get_template("page.html.j2")
    entries = _entries(out)
    for number in range(1, n_pages + 1):
        cards = [_card(entry, out) for entry in islice(entries, per_page)]
        html = template.render(
            summary=summary,
            cards=cards,
            first=(number - 1) * per_page + 1,
            errors=_errors(out, per_page) if number == 1 else [],
            max_errors=MAX_ERRORS,
            number=number,
            n_pages=n_pages,
            near=_near(number, n_pages),
            page_name=page_name,
            groups=GROUPS,
            labels_zh=LABELS_ZH,
            colours=COLOURS,
            status_zh=STATUS_ZH,
            sources_zh=SOURCES_ZH,
            sections_zh=SECTIONS_ZH,
            qualifiers_zh=QUALIFIERS_ZH,
            routes_zh=ROUTES_ZH,
        )
        (out / page_name(number)).write_text(html, encoding="utf-8")
        yield out / page_name(number)


def count_pages(n_records: int, per_page: int = PER_PAGE) -> int:
    """How many pages there are for so many records: at least one."""
    return max(1, -(-n_records // per_page))


def remove_pages(out: Path) -> None:
    """Delete the pages of an earlier run, which would contradict newer results."""
    for path in out.glob("page*.html"):
        if re.fullmatch(r"page(-\d+)?\.html", path.name):
            path.unlink()


def page_name(number: int) -> str:
    return "page.html" if number == 1 else f"page-{number}.html"


def segments(
    text: str, entities: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """The text in pieces, in order, each with its entity or None. No character is lost.

    entities: in order of the text and not overlapping, as in a record.
    """
    position = 0
    for entity in entities:
        if position < entity["start"]:
            yield text[position : entity["start"]], None
        yield text[entity["start"] : entity["end"]], entity
        position = entity["end"]
    if position < len(text):
        yield text[position:], None


def _entries(out: Path) -> Iterator[dict[str, Any]]:
    with (out / RECORDS).open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield json.loads(line)


def _errors(out: Path, per_page: int) -> list[dict[str, Any]]:
    """The first errors, with links to where their records stand."""
    found = (
        {**entry, "href": f"{page_name((number - 1) // per_page + 1)}#r{number}"}
        for number, entry in enumerate(_entries(out), start=1)
        if entry["status"] == "error"
    )
    return list(islice(found, MAX_ERRORS))


def _visible(value: Any) -> Any:
    """What a template expression shows; Markup is what the template itself has put together."""
    return value.translate(VISIBLE) if type(value) is str else value


def _near(number: int, n_pages: int) -> list[int]:
    """Pages worth a link: the first, the last and those around this one."""
    around = range(max(1, number - 3), min(n_pages, number + 3) + 1)
    return sorted({1, n_pages, *around})


def _card(entry: dict[str, Any], out: Path) -> dict[str, Any]:
    """An entry with what the template shows beside it."""
    if entry["status"] == "error":
        return entry
    entry = {"sections": [], "prescriptions": [], "syndrome": None, **entry}
    name = entry.get("photo", entry["image"])
    photo = find_picture(out, name)
    tongue = entry["tongue"]
    attributes = []
    for attribute, found in tongue["attributes"].items():
        heat_map = _data_uri(find_picture(out, name, attribute))
        attributes.append({**_attribute(attribute, found), "heat_map": heat_map})
    return {
        **entry,
        "segments": list(_with_sections(entry)),
        "photo": _data_uri(photo),
        "rendered": photo is not None and is_rendered(photo),
        "reasons": [
            describe_reason(reason, "zh")
            for reason in tongue["reasons"]
            if reason != BAD_PATH  # the warning says more
        ],
        "attributes": attributes,
        "typed": [_typed(field, found) for field, found in entry["fields"].items()],
    }


def _with_sections(
    entry: dict[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any] | None, str | None]]:
    """The segments, each with the id of the section that begins there, or None: a header that the
    note has says enough."""
    starts = {s["start"]: s["id"] for s in entry["sections"] if s["kind"] == "cue"}
    cuts = sorted(starts)
    position = 0
    for text, entity in segments(entry["text"], entry["entities"]):
        end = position + len(text)
        inside = [c for c in cuts if position < c < end] if entity is None else []
        edges = [position, *inside, end]
        for k, (start, stop) in enumerate(pairwise(edges)):
            begun = [c for c in cuts if start <= c < stop] if entity is not None else [start]
            name = next((starts[c] for c in begun if c in starts), None)
            yield text[start - position : stop - position], entity if k == 0 else None, name
        position = end


def _qualifiers(entity: Mapping[str, Any]) -> list[str]:
    said = [entity.get(key) for key in ("negation", "temporality", "experiencer")]
    if entity.get("certainty") == "possible" and "possible" not in said:
        said.append("possible")
    return [value for value in said if value in QUALIFIERS_ZH]


def _typed(field: str, found: dict[str, Any]) -> dict[str, Any]:
    """A typed field with all that the template may show of it."""
    usual = {"probability": None, "candidates": (), "unmentioned": (), "fuzzy": False}
    unit = found.get("unit", "")
    return {
        **usual,
        **found,
        "id": field,
        "name": field.rpartition(".")[2],
        "shown": f"{value_text(found['value'])} {unit}".strip(),
    }


def _attribute(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """An attribute of the photo in Chinese, its values most probable first."""
    name_zh, values_zh = TONGUE_ZH.get(name, (name, {}))
    if "none" in values_zh and "none" not in found.get("probabilities", {}):
        # Learned from photos of which none was said to lack it: slight may be absent.
        values_zh = {**values_zh, "light": "轻或无"}
    probabilities = sorted(
        found.get("probabilities", {}).items(), key=lambda item: -(item[1] or 0.0)
    )
    return {
        "name": name,
        "name_zh": name_zh,
        "value": found["value"],
        "value_zh": values_zh.get(found["value"], found["value"]),
        "abstained": found.get("abstained", False),
        "unfamiliar": found.get("unfamiliar", False),
        "probabilities": [(values_zh.get(value, value), p or 0.0) for value, p in probabilities],
        "zones": main_zones(found.get("regions", {})),
    }


def main_zones(regions: Mapping[str, float]) -> list[str]:
    """The fewest zones of the tongue that have more than half of the heat, the hottest first."""
    found, heat = [], 0.0
    for zone, share in sorted(regions.items(), key=lambda item: -item[1]):
        if heat > 0.5:
            break
        found.append(ZONES_ZH.get(zone, zone))
        heat += share
    return found


def _data_uri(path: Path | None) -> str | None:
    """A JPEG file as what the page can show without reading another file."""
    if path is None:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
