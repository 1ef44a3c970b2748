"""The 23 entity labels, and BIOES tags over any list of labels.

The published method names 23 categories of clinical entities but does not list them: this list is
the project's own.
"""

from collections.abc import Iterable, Sequence

LABELS: tuple[str, ...] = (
    "SYMPTOM",
    "SIGN",
    "TONGUE",
    "PULSE",
    "BODY_PART",
    "QUALITY",
    "SEVERITY",
    "FREQUENCY",
    "TIME",
    "TRIGGER",
    "TEST",
    "VALUE",
    "TCM_DISEASE",
    "WM_DISEASE",
    "SYNDROME",
    "PATHOGENESIS",
    "PRINCIPLE",
    "FORMULA",
    "HERB",
    "DRUG",
    "DOSAGE",
    "PROCEDURE",
    "ACUPOINT",
)

LABELS_ZH: dict[str, str] = dict(
    zip(
        LABELS,
        "症状 体征 舌象 脉象 部位 性质 程度 频次 时间 诱因 检查 数值 中医病名 西医诊断 证候 "
        "病因病机 治法 方剂 饮片 药品 剂量用法 操作 腧穴经络".split(),
        strict=True,
    )
)

# Joins labels in training data where an entity is one of several, as of a coarser scheme.
ALTERNATIVE = "|"

# Tag ids: 0 is O; label k has B, I, E, S at 1 + 4k .. 4 + 4k.
OUTSIDE = 0
PREFIXES = "BIES"


def tag_names(labels: Sequence[str]) -> list[str]:
    """Tags by id: ``["O", "B-SYMPTOM", "I-SYMPTOM", "E-SYMPTOM", "S-SYMPTOM", ...]``."""
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in PREFIXES)]


def spans_to_tags(n_tokens: int, spans: Iterable[tuple[int, int, int]]) -> list[int]:
    """BIOES tag ids of flat spans.

    spans: (first token, end token exclusive, label index), not overlapping.
    RETURNS: one tag id per token.
    RAISES ValueError: a span is empty, leaves the text or overlaps another.
    """
    tags = [OUTSIDE] * n_tokens
    for start, end, label in spans:
        if not 0 <= start < end <= n_tokens:
            raise ValueError(f"span ({start}, {end}) is empty or outside 0..{n_tokens}")
        if any(tags[start:end]):
            raise ValueError(f"span ({start}, {end}) overlaps another span")
        b, i, e, s = range(1 + 4 * label, 5 + 4 * label)
        tags[start:end] = [s] if end - start == 1 else [b, *[i] * (end - start - 2), e]
    return tags


def tags_to_spans(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """Inverse of :func:`spans_to_tags`; a malformed run (B without E, ...) gives no span."""
    spans = []
    start = label = None
    for i, tag in enumerate(tags):
        if tag == OUTSIDE:
            start = None
            continue
        this, position = divmod(tag - 1, 4)
        prefix = PREFIXES[position]
        if prefix == "S":
            spans.append((i, i + 1, this))
            start = None
        elif prefix == "B":
            start, label = i, this
        elif start is None or this != label:
            start = None
        elif prefix == "E":
            spans.append((start, i + 1, this))
            start = None
    return spans


def legal_transitions(n_labels: int) -> tuple[list[bool], list[bool], list[list[bool]]]:
    """Which BIOES tags may begin, end and follow each other.

    RETURNS: (start, end, transition), each indexed by tag id; ``transition[a][b]`` is true where
        tag b may follow tag a.
    """
    n_tags = 1 + 4 * n_labels
    kind = ["O"] + [prefix for _ in range(n_labels) for prefix in PREFIXES]
    label = [-1] + [k for k in range(n_labels) for _ in PREFIXES]
    start = [k in "OBS" for k in kind]
    end = [k in "OES" for k in kind]
    transition = [
        [
            (kind[b] in "IE" and label[a] == label[b]) if kind[a] in "BI" else kind[b] in "OBS"
            for b in range(n_tags)
        ]
        for a in range(n_tags)
    ]
    return start, end, transition


# What a tongue photo is described by: attribute -> its values, one of which holds. The first four
# are those of the public label set the project learns from; order is from least to most.
TONGUE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "body_color": ("light", "regular", "dark"),
    "coating_color": ("white", "light_yellow", "yellow", "gray_black"),
    "coating_thickness": ("none", "thin", "thick"),
    "fissure": ("none", "light", "severe"),
    "tooth_marks": ("none", "light", "severe"),
    "spots": ("none", "present"),
}

# Those that are told from the colour of the tongue alone.
COLOUR_ATTRIBUTES = ("body_color", "coating_color")

TONGUE_ZH: dict[str, tuple[str, dict[str, str]]] = {
    "body_color": ("舌色", {"light": "淡白", "regular": "淡红", "dark": "红绛或紫"}),
    "coating_color": (
        "苔色",
        {"white": "白", "light_yellow": "淡黄", "yellow": "黄", "gray_black": "灰黑"},
    ),
    "coating_thickness": ("苔厚", {"none": "少苔", "thin": "薄", "thick": "厚"}),
    "fissure": ("裂纹", {"none": "无", "light": "轻", "severe": "重"}),
    "tooth_marks": ("齿痕", {"none": "无", "light": "轻", "severe": "重"}),
    "spots": ("点刺瘀点", {"none": "无", "present": "有"}),
}
