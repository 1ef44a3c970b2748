"""Simulated hospitals: seven departments times three kinds of record, so that a hospital that is
held out has neither its department nor its kind of record together in training."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

FOLDS = 5
OTHER, CLINIC = "general medicine", "clinic"
# The first whose characters occur in the department's name.
DEPARTMENTS = {
    "children": ("儿",),
    "women": ("妇", "产", "孕", "月经", "乳", "女", "卵泡"),
    "skin and senses": ("皮肤", "性病", "眼", "耳", "鼻", "咽", "嗓", "口腔", "五官"),
    "surgery, joints, needles": (
        *("外", "骨", "肛", "男", "泌尿", "生殖", "针灸", "推拿", "康复", "血管", "烧伤"),
    ),
    "digestion, kidney, blood": (*("消化", "脾胃", "肝", "胆", "肾", "透", "血液", "瘤", "安宁"),),
    "heart, mind, glands": (*("心", "脑", "神", "睡眠", "失眠", "分泌", "糖尿", "甲状腺", "老年"),),
    OTHER: ("",),
}
KINDS = {
    "ward": (
        *("住院", "入院", "病程", "首程", "查房", "出院", "会诊", "抢救", "术后", "急诊", "留观"),
        *("inpatient", "病房", "病区", "小结", "转科", "交接", "日志"),
    ),
    "case": ("case", "narrative", "医案", "叙述", "病例", "病案", "夜班"),
    CLINIC: ("",),
}


def hospital(record: dict[str, Any]) -> str | None:
    """Of a record of `assets/records`; None for a passage of an old book."""
    if record.get("source") == "public-domain case book":
        return None
    return f"{_first(DEPARTMENTS, record['department'])} · {_first(KINDS, record['style'])}"


def _first(groups: dict[str, tuple[str, ...]], name: str) -> str:
    return next(group for group, parts in groups.items() if any(part in name for part in parts))


def make_folds(records: Iterable[dict[str, Any]], folds: int = FOLDS) -> list[list[str]]:
    """The hospitals of each fold, of about as many entities: the largest that is left always goes
    into the smallest fold."""
    sizes = Counter[str]()
    for record in records:
        name = hospital(record)
        if name is not None:
            sizes[name] += len(record["entities"])
    made: list[list[str]] = [[] for _ in range(folds)]
    for name, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        min(made, key=lambda fold: sum(sizes[n] for n in fold)).append(name)
    return made


def hold_out(
    records: Sequence[dict[str, Any]], number: int, folds: int = FOLDS
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """RETURNS: what is trained on, passages of old books included, and the fold held out."""
    held = set(make_folds(records, folds)[number])
    return (
        [record for record in records if hospital(record) not in held],
        [record for record in records if hospital(record) in held],
    )
