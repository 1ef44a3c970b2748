import copy
import pickle

import pytest
import spacy
from hypothesis import example, given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_tcm.errors import LexiconError, TCMError
from spacy_tcm.lexicon import Entry, Lexicon, format_tsv
from spacy_tcm.tokenizer import LexiconTokenizer, create_lexicon_tokenizer

LEXICON = Lexicon(
    [
        Entry("便血", "SYMPTOM"),
        Entry("舌淡红", "TONGUE"),
        Entry("淡红", "QUALITY"),
        Entry("VAS评分", "TEST"),
        Entry("CT", "TEST"),
        Entry("0g", "DOSAGE"),
        Entry("10g", "DOSAGE"),
    ]
)
TEXT = "便血3.5天，舌淡红，VAS评分6分。"
# Pieces that tokenizers lose or merge: full-width forms, line ends, wide and zero-width spaces,
# astral Han, emoji sequences, combining marks, and what this tokenizer treats specially.
PIECES = (
    " ,  ,\t,\n,\r\n,\u3000,\xa0,\u200b,\u2028,\x00,\x1f,\ufeff,\ufffe,𠀀,𰻞,😀,👨\u200d👧,"
    "e\u0301,１２．５,ＶＡＳ,１，２００,5μg,µ,便血,舌淡红,VAS评分,10g,110g,HECT,a,1.,..,①,℃"
).split(",")
unicode_texts = st.lists(
    st.one_of(
        st.sampled_from(PIECES), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
    ),
    max_size=20,
).map("".join)


@pytest.fixture(scope="module", params=["char", "word"])
def tokenizer(request):
    return LexiconTokenizer(Vocab(), copy.deepcopy(LEXICON), granularity=request.param)


def words(doc):
    return [token.text for token in doc]


@given(text=unicode_texts)
@example(text=" ")
@example(text="  a  b \n c\r\n")
def test_lossless_on_any_text(tokenizer, text):
    doc = tokenizer(text)
    assert doc.text == text
    for token in doc:
        if token.text.isspace():
            assert len(token.text) == 1 or token.text == "\r\n"
            assert not token.whitespace_
    spans = [doc.char_span(start, end) for start, end, _ in doc._.lexicon_matches]
    if tokenizer.granularity == "char":
        assert None not in spans


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("便血3天", ["便", "血", "3", "天"]),
        ("37.5℃", ["37.5", "℃"]),
        ("３７．５℃", ["３７．５", "℃"]),
        ("2023.05.01", ["2023.05.01"]),
        ("1,200ml", ["1,200", "ml"]),
        ("1,200,000.5", ["1,200,000.5"]),
        ("１，２００", ["１，２００"]),
        ("1,20", ["1", ",", "20"]),
        ("1,2000", ["1", ",", "2000"]),
        ("1，200", ["1", "，", "200"]),
        ("120/80mmHg", ["120", "/", "80", "mmHg"]),
        ("5~8次", ["5", "~", "8", "次"]),
        ("3.", ["3", "."]),
        ("μg µg", ["μg", "µg"]),
        ("ＣＴ", ["ＣＴ"]),
        ("café", ["café"]),
        ("a b", ["a", "b"]),
        ("a  b", ["a", " ", "b"]),
        (" a", [" ", "a"]),
        ("a\n b", ["a", "\n", " ", "b"]),
        ("a\r\nb", ["a", "\r\n", "b"]),
        ("a\r\r\n\n", ["a", "\r", "\r\n", "\n"]),
        ("痛\u3000痛", ["痛", "\u3000", "痛"]),
        ("𠀀痛", ["𠀀", "痛"]),
        ("", []),
    ],
)
def test_characters_and_runs(text, tokens):
    doc = LexiconTokenizer(Vocab())(text)
    assert words(doc) == tokens
    assert doc._.lexicon_matches == []


def test_lexicon_words_as_tokens():
    doc = LexiconTokenizer(Vocab(), LEXICON, granularity="word")("舌淡红 便血3.5天")
    assert words(doc) == ["舌淡红", "便血", "3.5", "天"]
    assert doc.text == "舌淡红 便血3.5天"


def test_matches_never_cut_a_run(tokenizer):
    assert tokenizer("110g 10g")._.lexicon_matches == [[5, 8, "DOSAGE"]]
    assert tokenizer("HECT和CT，NVAS评分")._.lexicon_matches == [[5, 7, "TEST"]]


def test_what_would_cut_a_run_hides_no_other_match():
    lexicon = Lexicon([Entry("维生素", "DRUG"), Entry("维生素1", "DRUG")], [Entry("2片", "DRUG")])
    doc = LexiconTokenizer(Vocab(), lexicon)("维生素12片")
    assert doc._.lexicon_matches == [[0, 3, "DRUG"]]


def test_lone_surrogate(tokenizer):
    with pytest.raises(TCMError, match="Character 2 ") as caught:
        tokenizer("便血\ud800")
    assert "便" not in str(caught.value)


def test_granularity_is_checked():
    with pytest.raises(LexiconError, match="E109"):
        create_lexicon_tokenizer("sentence")


@pytest.fixture
def tables(tmp_path):
    core = tmp_path / "core.tsv"
    core.write_text(format_tsv(LEXICON.entries), encoding="utf-8")
    user = tmp_path / "user.tsv"
    user.write_text("term\tcategory\n舌淡\tSIGN\n", encoding="utf-8")
    return str(core), str(user)


@pytest.fixture
def nlp(tables):
    nlp = spacy.blank("tcm")
    core, user = tables
    nlp.config["initialize"]["tokenizer"] = {"lexicon": [core], "user_terms": user}
    nlp.initialize()
    nlp.tokenizer.add_terms([("3.5天", "TIME")])
    return nlp


MATCHES = [
    [0, 2, "SYMPTOM"],
    [2, 6, "TIME"],
    [7, 9, "SIGN"],
    [11, 16, "TEST"],
]


def test_initialize_reads_tables_and_keeps_user_terms(nlp, tables):
    assert nlp(TEXT)._.lexicon_matches == MATCHES
    nlp.initialize()
    assert nlp(TEXT)._.lexicon_matches == MATCHES
    nlp.tokenizer.initialize(nlp=nlp)
    assert nlp(TEXT)._.lexicon_matches == MATCHES


def test_saved_pipeline_needs_no_asset(nlp, tables, tmp_path):
    nlp.to_disk(tmp_path / "model")
    for path in tables:
        (tmp_path / path).unlink()
    assert spacy.load(tmp_path / "model")(TEXT)._.lexicon_matches == MATCHES
    from_bytes = spacy.blank("tcm").from_bytes(nlp.to_bytes())
    assert from_bytes(TEXT)._.lexicon_matches == MATCHES


def test_granularity_is_saved(tmp_path):
    tokenizer = LexiconTokenizer(Vocab(), LEXICON, granularity="word")
    tokenizer.to_disk(tmp_path / "tokenizer")
    for clone in (
        LexiconTokenizer(Vocab()).from_disk(tmp_path / "tokenizer"),
        LexiconTokenizer(Vocab()).from_bytes(tokenizer.to_bytes()),
    ):
        assert words(clone(TEXT)) == words(tokenizer(TEXT))


def test_copies_behave_the_same(nlp):
    for clone in (pickle.loads(pickle.dumps(nlp.tokenizer)), copy.deepcopy(nlp.tokenizer)):
        assert clone(TEXT)._.lexicon_matches == MATCHES


def test_other_processes_keep_the_matches(nlp):
    nlp.add_pipe("sentencizer")
    docs = list(nlp.pipe([TEXT, "", "便血"], n_process=2, batch_size=1))
    assert [doc._.lexicon_matches for doc in docs] == [MATCHES, [], [[0, 2, "SYMPTOM"]]]


def test_docs_keep_the_matches_when_stored(nlp):
    stored = DocBin(docs=[nlp(TEXT)], store_user_data=True).to_bytes()
    (doc,) = DocBin(store_user_data=True).from_bytes(stored).get_docs(nlp.vocab)
    assert [list(match) for match in doc._.lexicon_matches] == MATCHES  # DocBin makes tuples
    assert Doc(nlp.vocab).from_bytes(nlp(TEXT).to_bytes())._.lexicon_matches == MATCHES


def test_score_of_the_tokens_themselves(nlp):
    from spacy.training import Example

    scores = nlp.evaluate([Example(nlp.make_doc(TEXT), nlp.make_doc(TEXT))])
    assert scores["token_f"] == 1.0
