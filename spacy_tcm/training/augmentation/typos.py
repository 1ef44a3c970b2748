"""``spacy_tcm.typos.v1``: characters mistaken for others of similar sound or shape."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from spacy_tcm.lexicon import read_tables
from spacy_tcm.training.augmentation.edits import (
    HAN,
    Augmenter,
    check_share,
    import_optional,
    replace_text,
)
from spacy_tcm.training.validation import Record

# Characters that look alike and are mistaken for each other in medical notes. Gathered by hand
# from knowledge of the script; how often each mistake is made was not measured.
SHAPES = tuple(
    """
    己已巳 未末 戊戌戍 日曰 干千于 土士 天夭 大太 人入 木本术 免兔 刺剌 折拆析 暑署 即既 洽治冶
    汨汩 侯候 徙徒 傅传 味昧 没设 沫抹 衰哀衷 羸赢 崇祟 荼茶 乌鸟 两雨 血皿 甘廿 厉历 盲肓 阙阕
    炙灸 炎灸 晴睛 粘黏 脘腕 隔膈 燥躁 薄簿 辨辩辫 症证 苓芩 芍芎 芷芒 茵菌 藿霍 菟兔 栀桅 砂沙
    萎痿 癣藓 疽疸 疖疗疔 疹诊 痔痣 痉痊 瘀淤 肋胁 胫颈径 踝髁裸 颌额颔 睑脸 跗附 肢脂 肌饥
    眩炫 弦玄 沉沈 濡糯 缓援 弱溺 促捉 洪供 涩湿 滑猾 淡谈 温湿 渴喝 嗽漱 谵瞻 哕秽 寐寤
    溏塘糖 泄泻 遗遣 悸季 眠眼 汗汁 泪汨 胃谓 肾贤 脾牌 肠汤 胀帐账 俞愈 腧输
    拔拨 搏博 敷傅 熨慰 煎剪 帖贴 剂济 钱线 蝉婵 枸构 桔枯 蒌篓 苍仓 苡苢 蒲薄 瞿翟
    """.split()
)

# A character of fewer terms of the lexicon than this is too rare to be typed by mistake.
_COMMON = 10

_HAN = re.compile(f"[{HAN}]")


def create_typos(
    lexicon: str | Path | list[str | Path] | None = None, rate: float = 0.01, sound: float = 0.7
) -> Augmenter:
    """``spacy_tcm.typos.v1``: replace Chinese characters by ones of similar sound or shape.

    Similar in sound are the characters of one syllable, whatever the tone, and zh, ch, sh and
    final ng count as z, c, s and n. They are taken from the terms of the lexicon, read with
    ``pypinyin``, each character with its most common reading. For shapes see `SHAPES`.

    lexicon: tables of terms (files, or folders of ``*.tsv``); None: no typos by sound.
    rate: how probable a typo is at each character that has a similar one, from 0 to 1.
    sound: the share of typos by sound where both kinds are possible, from 0 to 1.
    RAISES RecordError: rate or sound is out of range, or ``pypinyin`` is not installed.
    """
    check_share("rate", rate)
    check_share("sound", sound)
    by_sound = {} if lexicon is None else _similar_sounds(lexicon)
    by_shape = _others(SHAPES)

    def augment(record: Record, rng: Random) -> Record:
        edits = []
        for i, char in enumerate(record["text"]):
            alike, heard = by_shape.get(char), by_sound.get(char)
            if (alike or heard) and rng.random() < rate:
                chosen = heard if heard and (not alike or rng.random() < sound) else alike
                edits.append((i, i + 1, rng.choice(chosen or [char])))
        return replace_text(record, edits)

    return augment


def _similar_sounds(lexicon: str | Path | list[str | Path]) -> dict[str, list[str]]:
    """Common characters of the lexicon -> the others of similar sound."""
    pypinyin = import_optional("pypinyin")
    terms = {entry.term for entry in read_tables(lexicon)}
    counts = Counter(char for term in terms for char in set(_HAN.findall(term)))
    syllables: dict[str, list[str]] = defaultdict(list)
    for char in sorted(char for char, count in counts.items() if count >= _COMMON):
        (syllable,) = pypinyin.lazy_pinyin(char)
        syllables[re.sub("(?<=^[zcs])h|(?<=n)g$", "", syllable)].append(char)
    return _others(syllables.values())


def _others(groups: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """Each member of a group -> all the others of its groups, in order."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for group in groups:
        for char in group:
            found[char] |= dict.fromkeys(other for other in group if other != char)
    return {char: list(others) for char, others in found.items() if others}
