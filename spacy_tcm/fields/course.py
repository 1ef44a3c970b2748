"""How long the patient has had the chief complaint."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from spacy_tcm.fields.numbers import Duration, find_durations
from spacy_tcm.fields.scene import Scene

_CHIEF = re.compile(
    r"主\s*诉[^\n:]{0,3}[:\]】］)]?\s*|主因|(?:就诊|入院)原因[:]?|C/O[:]?|主[证症][:]?"
)
# From here on, the note tells how it came about, or what is found.
_STOP = re.compile(r"\n|现\s*病\s*史|刻下|现症|既往|。")
_CHANGES = re.compile(
    r"此次|此番|加[重剧]|再发|复发|又发|反复发作加|复溃|泛发|尤甚|为甚|未[解行]|后加|急性"
)
# Clocks of their own, which are no complaint.
_OTHER = re.compile(
    r"停经|绝经|妊娠|孕|产后|术后|化疗|放疗|术|年龄|月经|末次|戒|吸烟|饮酒|从业|已婚|结婚|疗毕|守方|经\S{0,3}$|服"
    r"|上药|用药|用\S{2,8}[汤丸散饮]|已[退止除]"
)
_BETWEEN = re.compile(r"(?:反复发作|反复|间断|间作|发作|渐进|持续|已|约|近|达|有|史|逾)$")
_AGE = re.compile(r"(?:岁|男|女|患儿|龄)\s*[,，、]?\s*$")
_COMPLAINT, _DISEASE = ("SYMPTOM", "SIGN"), ("TCM_DISEASE", "WM_DISEASE")


def read_course(field: Mapping[str, Any], scene: Scene) -> dict[str, Any] | None:
    """The first duration that a complaint of the chief complaint has; else of the first sentences,
    what began so long ago, or how long the disease has been there."""
    start, end = _region(scene)
    found = [(d, _rank(d, scene, start)) for d in find_durations(scene.text, start, end)]
    found = [(d, rank) for d, rank in found if rank is not None]
    if not found:
        return None
    best, rank = min(found, key=lambda pair: (pair[1], -_days(pair[0]), pair[0].start))
    left, right = best.start, best.end
    entity = scene.entity(best.start)
    if entity and entity[2] == "TIME":
        left, right = entity[0], entity[1]
    text = scene.text
    left = _with_complaint(scene, left, start)
    while right < len(text) and text[right] in "余多" and right < best.end + 1:
        right += 1
    return {
        "value": best.value,
        "unit": best.unit,
        "evidence": text[left:right],
        "start": left,
        "end": right,
        "source": "text",
        "raw": text[best.start : best.end],
        "fuzzy": best.fuzzy,
        "rule": ("complaint", "onset", "disease", "first")[min(int(rank or 0), 3)],
    }


def _with_complaint(scene: Scene, left: int, start: int) -> int:
    """Where the complaint begins that stands directly before: 经行小腹冷痛6年."""
    at, named = left, left
    while at > start:
        entity = scene.entity(at - 1)
        if entity is not None and entity[1] == at and entity[0] >= start:
            at = entity[0]
            if entity[2] in _COMPLAINT + _DISEASE + ("BODY_PART",):
                named = at
            elif named == left and entity[2] not in ("FREQUENCY", "SEVERITY", "QUALITY"):
                break
        elif entity is None and (word := _BETWEEN.search(scene.text, max(start, at - 4), at)):
            at = word.start()
        else:
            break
    return named


def _region(scene: Scene) -> tuple[int, int]:
    for section in scene.sections:
        if section["id"] == "chief_complaint":
            return section["start"], section["end"]
    text = scene.text
    chief = _CHIEF.search(text)
    if chief and chief.end() < len(text):
        stop = _STOP.search(text, chief.end() + 1)
        end = stop.start() if stop else len(text)
        if find_durations(text, chief.end(), end):
            return chief.end(), end
    # Without a header, the complaint stands in the first sentences.
    return 0, next((m.end() for m in re.finditer(r"[。\n]", text) if m.end() >= 60), len(text))


def _rank(duration: Duration, scene: Scene, start: int) -> float | None:
    """0: of a complaint, 1: since when, 2: of a disease, 3: any other; None: of something else."""
    text = scene.text
    entity = scene.entity(duration.start)
    if entity is not None and entity[2] not in ("TIME", "SYMPTOM", "SIGN", "SEVERITY"):
        return None
    before = text[max(start, duration.start - 16) : duration.start]
    clause = re.split(r"[,，;；。\n]", before)[-1]
    after = text[duration.end : duration.end + 4]
    if _AGE.search(before) or re.match(r"\s*(?:龄|男|女|[,，]?(?:男|女))", after):
        return None
    if re.search(r"(?:[/每隔前]|不如)\s*$", before) or re.match(
        r"\s*(?:[后一]?[/]|一[次行])", after
    ):
        return None
    if re.match(r"余?后(?!缀)|不[下解行如]|未[下解行用作发服]|不如|[一1]次|治疗", after):
        return None
    if scene.place(duration.start).outside:
        return None
    if text[duration.start - 1 : duration.start] == "第" and not _label_before(
        scene, duration.start, start
    ):
        return None  # 术后第6周, 入院第3天
    if _is_age(duration, text):
        return None
    ago = bool(re.match(r"(?:余|多)?(?:之)?前", after)) or text[duration.end - 1] == "来"
    if _OTHER.search(clause):
        return 4 if re.search(r"术后|放疗|化疗|绝经", clause) else None
    label = _label_before(scene, duration.start, start)
    if ago:
        return 1.0
    if re.search(r"此[番次]", before):
        return 2.5  # an attack of what lasts longer
    if label in _COMPLAINT or label == "TCM_DISEASE":
        return 1.5 if _CHANGES.search(clause) or _CHANGES.match(after) else 0.0
    if label in _DISEASE:
        return 2.0
    return 3.0


def _is_age(duration: Duration, text: str) -> bool:
    """五旬有二, 七旬老妪."""
    return "旬" in text[duration.start : duration.end] and _size(duration.value) >= 40


def _days(duration: Duration) -> float:
    """Of several complaints, the one that lasts longest tells the course."""
    return _size(duration.value) * {"日": 1, "周": 7, "月": 30, "年": 365}[duration.unit]


def _size(value: Any) -> float:
    return max(value) if isinstance(value, list) else value


def _label_before(scene: Scene, at: int, start: int) -> str | None:
    """Of the nearest entity before that can last, unless a sentence lies between."""
    before: Sequence[tuple[int, int, str]] = [e for e in scene.entities if start <= e[0] < at]
    for _, e, label in reversed(before):
        if label in _COMPLAINT + _DISEASE:
            if re.search(r"[。；;\n]", scene.text[e:at]) or at - e > 14:
                return None
            return label
    return None
