"""All messages for the user, in one place, numbered.

Every message names the cause and the remedy. Messages may name a record id, a field, a path or a
line number; they never contain the patient's text. Ranges: 1xx lexicon and tokenizer, 2xx images,
3xx records and corpora, 4xx models and components, 5xx command line.
"""


class TCMError(ValueError):
    """Base class of every error that spacy_tcm raises on purpose."""


class LexiconError(TCMError):
    """A lexicon table or a term cannot be used."""


class RecordError(TCMError):
    """A record or a corpus cannot be used."""


class ModelError(TCMError):
    """A model or a pipeline component is used in a way it does not support."""


class Errors:
    # 1xx: lexicon and tokenizer
    # 2xx: images
    # 3xx: records and corpora
    # 4xx: models and components
    # 5xx: command line
    pass


class Warnings:
    pass
