"""What `spacy_tcm.subwords` must know of an encoder's tokenizer."""

from functools import lru_cache
from typing import Any

import srsly
from tokenizers import Tokenizer

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.subwords import ALONE, INSIDE, NOTHING, SPACE, Subwords, is_chinese

# Of the others, Chinese and Korean ones are the same in any version of Unicode, and the rest is
# private or not assigned.
_CHARACTERS = (
    range(0x3400),
    range(0x4DC0, 0x4E00),
    range(0xA000, 0xAC00),
    range(0xD7A4, 0xD800),
    range(0xE000, 0x20000),
    range(0x2F800, 0x2FA20),
    range(0xE0000, 0xE0200),
)


@lru_cache(maxsize=1)
def read_subwords(description: str) -> Subwords:
    """description: the content of a ``tokenizer.json``.

    RAISES ModelError: it is not a BERT tokenizer of the kind that is known here.
    """
    settings = _read(description)
    return Subwords({**settings, **_find_differences(settings, description)})


def _read(description: str) -> dict[str, Any]:
    """The settings without kinds and forms."""
    tokenizer = srsly.json_loads(description)
    model, pre = tokenizer["model"], tokenizer["pre_tokenizer"]
    normalizer = tokenizer["normalizer"] or {"type": "none"}
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    names = [step["type"] for step in steps]
    if model.get("type", "WordPiece") != "WordPiece":
        raise ModelError(Errors.E471.format(part="model", found=model["type"]))
    if names not in (["NFKC", "BertNormalizer"], ["BertNormalizer"]):
        raise ModelError(Errors.E471.format(part="normalizer", found="+".join(names)))
    if pre is None or pre["type"] != "BertPreTokenizer":
        found = "none" if pre is None else pre["type"]
        raise ModelError(Errors.E471.format(part="pre_tokenizer", found=found))
    added = tokenizer["added_tokens"]
    if any(
        token["single_word"] or token["lstrip"] or token["rstrip"] or token["normalized"]
        for token in added
    ):
        raise ModelError(Errors.E471.format(part="added_tokens", found="words of their own"))
    vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    if [model["vocab"][piece] for piece in vocabulary] != list(range(len(vocabulary))):
        raise ModelError(Errors.E471.format(part="vocabulary", found="ids with gaps"))
    bert = steps[-1]
    accents = bert["strip_accents"]
    return {
        "vocabulary": vocabulary,
        "special": {token["content"]: token["id"] for token in added},
        "first": model["vocab"]["[CLS]"],
        "last": model["vocab"]["[SEP]"],
        "unknown": model["vocab"][model["unk_token"]],
        "longest": model["max_input_chars_per_word"],
        "prefix": model["continuing_subword_prefix"],
        "nfkc": len(steps) == 2,
        "clean": bert["clean_text"],
        "chinese": bert["handle_chinese_chars"],
        "accents": bert["lowercase"] if accents is None else accents,
        "lowercase": bert["lowercase"],
        "kinds": {},
        "forms": {},
    }


def _find_differences(settings: dict[str, Any], description: str) -> dict[str, Any]:
    """kinds and forms, of all characters: the tokenizer knows another Unicode than Python does."""
    tokenizer = Tokenizer.from_str(description)
    normalize, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    plain = Subwords(settings)
    forms: dict[str, str] = {}
    kinds: dict[str, int] = {}
    tried: set[str] = set()
    for character in (chr(code) for some in _CHARACTERS for code in some):
        theirs = normalize(character)
        mine = "".join(_spaced(settings, *part) for part in plain.clean(character))
        if mine != theirs:
            forms[character] = theirs
        for one in theirs:
            if one in tried:
                continue
            tried.add(one)
            # Between letters: one word if it is a letter, three if it stands alone.
            kind = {1: INSIDE, 2: SPACE, 3: ALONE}[len(split(f"q{one}q"))]
            if settings["chinese"] and is_chinese(one):
                kind = ALONE
            if plain.kind(one) != kind:
                kinds[one] = kind
    return {"kinds": kinds, "forms": forms}


def _spaced(settings: dict[str, Any], character: str, kind: int) -> str:
    """A part of a character as it stands in normalised text."""
    if kind == NOTHING:
        return ""
    if kind == SPACE and settings["clean"]:
        return " "
    return f" {character} " if settings["chinese"] and is_chinese(character) else character
