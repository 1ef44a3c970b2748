"""``spacy_tcm.section_shuffle.v1``: sections or lines left out and in another order."""

import re
from itertools import pairwise
from random import Random

from spacy_tcm.training.augmentation.edits import Augmenter, arrange_text, check_share
from spacy_tcm.training.validation import Record

HEADERS = tuple(
    """
    主诉 现病史 病史 既往史 过敏史 个人史 月经史 婚育史 家族史 刻诊 刻下 现症 症见 四诊
    体格检查 专科检查 专科情况 查体 体检 辅助检查 检查 化验 舌脉 舌象 脉象
    诊断 中医诊断 西医诊断 初步诊断 入院诊断 辨证 中医辨证 辨证分析 证型 证候 病机
    治法 治则 立法 治疗 处理 方药 处方 医嘱 按语 按 初诊 二诊 三诊 复诊
    """.split()
)


def create_section_shuffle(
    drop: float = 0.1, shuffle: float = 0.5, headers: list[str] | None = None
) -> Augmenter:
    """``spacy_tcm.section_shuffle.v1``: leave out and reorder sections, or lines if there are none.

    A section begins with a header (主诉： or 【主诉】, also with a number before it) at the
    beginning of a line or after a sentence; what is before the first header is a section too. No
    entity is cut, and at least one section stays.

    drop: how probable each section is left out, from 0 to 1.
    shuffle: how probable the sections of a record come in another order, from 0 to 1.
    headers: the words that begin a section. Default: `HEADERS`.
    RAISES RecordError: drop or shuffle is out of range.
    """
    check_share("drop", drop)
    check_share("shuffle", shuffle)
    header = _header_pattern(HEADERS if headers is None else headers)

    def augment(record: Record, rng: Random) -> Record:
        pieces = _pieces(record, header)
        kept = [piece for piece in pieces if rng.random() >= drop]
        if pieces and not kept:
            kept = [rng.choice(pieces)]
        if rng.random() < shuffle:
            rng.shuffle(kept)
        return arrange_text(record, kept)

    return augment


def _header_pattern(headers: list[str] | tuple[str, ...]) -> re.Pattern[str]:
    # Spaces inside a header align it with others: 主  诉
    words = (r"[ 　]*".join(map(re.escape, header)) for header in headers)
    return re.compile(
        r"(?:^|(?<=[\s。；;！？!?]))"
        r"(?:[0-9０-９一二三四五六七八九十]{1,2}[.．、][ 　]*)?"
        rf"[【［\[]?(?:{'|'.join(words)})(?=[】］\]：:])",
        re.MULTILINE,
    )


def _pieces(record: Record, header: re.Pattern[str]) -> list[tuple[int, int]]:
    """The sections of a record, or its lines if it has none, as (start, end)."""
    text = record["text"]
    inside = {char for start, end, _ in record["entities"] for char in range(start + 1, end)}
    starts = {match.start() for match in header.finditer(text)} or {
        match.end() for match in re.finditer(r"\n", text)
    }
    cuts = sorted({0, len(text), *(starts - inside)})
    return list(pairwise(cuts))
