"""The language ``tcm``: Chinese defaults with the tokenizer of this package.

Not a subclass of ``spacy.lang.zh.Chinese``: its configuration demands the fields of pkuseg.
"""

from collections.abc import Callable
from functools import partial

from spacy.attrs import NORM, SHAPE
from spacy.lang.lex_attrs import word_shape
from spacy.lang.zh.lex_attrs import LEX_ATTRS
from spacy.lang.zh.stop_words import STOP_WORDS
from spacy.language import BaseDefaults, Language
from spacy.util import load_config_from_str

from spacy_tcm.extensions import install_extensions

install_extensions()

DEFAULT_CONFIG = """
[nlp]

[nlp.tokenizer]
@tokenizers = "spacy_tcm.LexiconTokenizer.v1"
granularity = "char"

[initialize]

[initialize.tokenizer]
lexicon = null
user_terms = null
"""


def _line_end_or(getter: Callable[[str], str], text: str) -> str:
    """Line ends are one thing to a model, however a system writes them."""
    return "\n" if text in ("\r\n", "\r") else getter(text)


class TraditionalChineseMedicineDefaults(BaseDefaults):
    config = load_config_from_str(DEFAULT_CONFIG)
    lex_attr_getters = {  # noqa: RUF012
        **LEX_ATTRS,
        NORM: partial(_line_end_or, str.lower),
        SHAPE: partial(_line_end_or, word_shape),
    }
    stop_words = STOP_WORDS
    writing_system = {"direction": "ltr", "has_case": False, "has_letters": False}  # noqa: RUF012


class TraditionalChineseMedicine(Language):
    """``spacy.blank("tcm")``."""

    lang = "tcm"
    Defaults = TraditionalChineseMedicineDefaults
