"""Traditional Chinese medicine notes and tongue photos as structured data in a spaCy ``Doc``."""

from importlib.metadata import version

__version__ = version("spacy-tcm")
