"""``spacy_tcm.traditional_characters.v1``: simplified characters made traditional."""

from random import Random

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.training.augmentation.edits import Augmenter, import_optional, replace_text
from spacy_tcm.training.validation import Record

# OpenCC's conversions that choose among characters only, never other words of another length.
VARIANTS = ("s2t", "s2tw", "s2hk")


def create_traditional_characters(variant: str = "s2t") -> Augmenter:
    """``spacy_tcm.traditional_characters.v1``: the whole text in traditional characters, by OpenCC.

    variant: OpenCC's standard (``s2t``), or the forms used in Taiwan (``s2tw``) or Hong Kong
        (``s2hk``).
    RAISES RecordError: the variant is none of these, or ``opencc`` is not installed.
    """
    if variant not in VARIANTS:
        raise RecordError(Errors.E364.format(variant=variant, variants=", ".join(VARIANTS)))
    convert = import_optional("opencc").OpenCC(variant).convert

    def augment(record: Record, rng: Random) -> Record:
        text = record["text"]
        new = convert(text)  # looks at whole words: 头发 -> 頭髮, 发热 -> 發熱
        if len(new) != len(text):  # so that each character of one stands for one of the other
            new = [convert(char) for char in text]
        pairs = zip(text, new, strict=True)
        return replace_text(record, [(i, i + 1, b) for i, (a, b) in enumerate(pairs) if a != b])

    return augment
