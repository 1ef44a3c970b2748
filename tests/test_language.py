import subprocess
import sys

import spacy
from spacy.tokens import Doc

from spacy_tcm.tokenizer import LexiconTokenizer


def test_blank():
    nlp = spacy.blank("tcm")
    assert nlp.lang == "tcm"
    assert isinstance(nlp.tokenizer, LexiconTokenizer)
    assert nlp.tokenizer.granularity == "char"
    assert nlp.vocab.writing_system == {
        "direction": "ltr",
        "has_case": False,
        "has_letters": False,
    }
    doc = nlp("的三")
    assert doc[0].is_stop
    assert doc[1].like_num
    assert Doc.has_extension("tongue_image")


def test_config_round_trip():
    config = spacy.blank("tcm").config
    config["nlp"]["tokenizer"]["granularity"] = "word"
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    assert nlp.tokenizer.granularity == "word"
    assert nlp.config["initialize"]["tokenizer"] == {"lexicon": None, "user_terms": None}
    again = spacy.util.load_model_from_config(nlp.config.copy().from_str(nlp.config.to_str()))
    assert again.config.interpolate() == nlp.config.interpolate()
    nlp.initialize()


def test_another_tokenizer_and_ours_elsewhere(tmp_path):
    """The tokenizer may be replaced, and used by another language."""
    other = spacy.blank(
        "tcm",
        config={
            "nlp": {"tokenizer": {"@tokenizers": "spacy.Tokenizer.v1"}},
        },
    )
    other.to_disk(tmp_path / "other")
    assert spacy.load(tmp_path / "other")("a b")._.lexicon_matches is None
    chinese = spacy.blank(
        "en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_tcm.LexiconTokenizer.v1"}}}
    )
    assert [token.text for token in chinese("便血")] == ["便", "血"]


def test_imports_are_light():
    """Our modules load nothing heavy beyond what spaCy itself does, and no other segmenter."""
    code = """
import sys
import spacy.language
before = set(sys.modules)
import spacy_tcm.language, spacy_tcm.tokenizer
print(*set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name.split(".")[0] for name in done.stdout.split()}
    assert "spacy_tcm" in ours
    heavy = {"torch", "torchvision", "transformers", "PIL", "jieba", "pkuseg", "spacy_pkuseg"}
    assert not ours & heavy
