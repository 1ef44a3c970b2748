import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import LexiconError, TCMError
from spacy_tcm.lexicon import Entry, Lexicon, format_tsv, read_tables, read_tsv

ALPHABET = "ab痛𠀀"
CATEGORIES = ("SYMPTOM", "SIGN", "HERB")
words = st.text(ALPHABET, min_size=1, max_size=4)
entries = st.lists(
    st.tuples(words, st.sampled_from(CATEGORIES), st.sampled_from(["", "x"])).map(
        lambda fields: Entry(*fields)
    ),
    max_size=12,
)
texts = st.text(ALPHABET, max_size=40)


def leftmost_longest(text, terms, closed):
    """Spans, by trying every term at every place."""
    spans = []
    start = 0
    while start < len(text):
        ends = {start + len(term) for term in terms if text.startswith(term, start)} - closed
        longest = 0 if start in closed else max(ends, default=start) - start
        if longest:
            spans.append((start, start + longest))
        start += longest or 1
    return spans


def without(spans, wins):
    return [(s, e) for s, e in spans if not any(s < end and start < e for start, end in wins)]


def brute_matches(text, core, user, closed):
    def by_category(table):
        return {
            category: leftmost_longest(
                text, {e.term for e in table if e.category == category}, closed
            )
            for category in CATEGORIES
        }

    ours, wins = by_category(core), by_category(user)
    all_wins = [span for spans in wins.values() for span in spans]
    return sorted(
        (start, end, category)
        for category in CATEGORIES
        for start, end in wins[category] + without(ours[category], all_wins)
    )


def brute_words(text, core, user, closed):
    wins = leftmost_longest(text, {e.term for e in user}, closed)
    ours = leftmost_longest(text, {e.term for e in core}, closed)
    return sorted(wins + without(ours, wins))


@given(texts, entries, entries, st.sets(st.integers(1, 20), max_size=5))
def test_matches_and_words_equal_brute_force(text, core, user, closed):
    lexicon = Lexicon(core, user)
    assert lexicon.matches(text, closed) == brute_matches(text, core, user, closed)
    assert lexicon.words(text, closed) == brute_words(text, core, user, closed)


@given(texts, entries, entries, st.randoms())
def test_order_of_entries_never_matters(text, core, user, random):
    lexicon = Lexicon(core, user)
    random.shuffle(core)
    shuffled = Lexicon(core)
    for entry in random.sample(user, len(user)):
        shuffled.matches(text)  # automata built in between must not go stale
        shuffled.add_terms([entry])
    assert shuffled.matches(text) == lexicon.matches(text)
    assert shuffled.words(text) == lexicon.words(text)
    assert shuffled.to_bytes() == lexicon.to_bytes()


@given(entries, entries)
def test_serialisation_keeps_everything(core, user):
    lexicon = Lexicon(core, user)
    for clone in (
        Lexicon().from_bytes(lexicon.to_bytes()),
        pickle.loads(pickle.dumps(lexicon)),
        copy.deepcopy(lexicon),
    ):
        assert clone.entries == lexicon.entries
        assert clone.user_entries == lexicon.user_entries


def test_longest_within_a_category_but_categories_overlap():
    lexicon = Lexicon(
        [Entry("舌淡", "TONGUE"), Entry("舌淡红", "TONGUE"), Entry("淡红", "QUALITY")]
    )
    assert lexicon.matches("舌淡红") == [(0, 3, "TONGUE"), (1, 3, "QUALITY")]
    assert lexicon.words("舌淡红") == [(0, 3)]


def test_offsets_are_right_past_astral_characters():
    assert Lexicon([Entry("便血", "SYMPTOM")]).matches("𠀀😀便血") == [(2, 4, "SYMPTOM")]


def test_user_terms_merge_and_win():
    lexicon = Lexicon([Entry("黄芪", "HERB"), Entry("生黄芪", "HERB"), Entry("当归", "HERB")])
    lexicon.add_terms([("黄芪", "DRUG")])
    assert lexicon.matches("生黄芪当归") == [(1, 3, "DRUG"), (3, 5, "HERB")]
    assert [entry.category for entry in lexicon.entries_for("黄芪")] == ["DRUG", "HERB"]
    assert len(lexicon) == 3


def test_lookup():
    entry = Entry("北芪", "HERB", "黄芪", "a book", "")
    lexicon = Lexicon([entry])
    assert lexicon.entries_for("北芪") == [entry]
    assert lexicon.entries_for("芪") == []
    assert "北芪" in lexicon
    assert "黄芪" not in lexicon


def test_empty_lexicon_and_empty_text():
    assert Lexicon().matches("便血") == Lexicon().words("便血") == []
    assert Lexicon([Entry("便血", "SYMPTOM")]).matches("") == []


def test_a_bad_term_adds_none():
    lexicon = Lexicon()
    with pytest.raises(LexiconError, match="entry 2"):
        lexicon.add_terms([("便血", "SYMPTOM"), ("乏力", "SYMPTON")])
    assert len(lexicon) == 0


@pytest.mark.parametrize(
    ("terms", "number"),
    [
        ([("便血",)], 1),
        ("abc", 1),
        ([("便血", "SYMPTOM"), (None, "HERB")], 2),
        ([("便血", "SYMPTOM"), ("黄芪", ["HERB"])], 2),
        (["黄芪"], 1),
        ({"院方": "FORMULA"}, 1),
        ([("便血", "SYMPTOM"), None], 2),
        ([("便血", "SYMPTOM", "", "", "", "")], 1),
    ],
)
def test_what_is_no_term_adds_none(terms, number):
    lexicon = Lexicon()
    with pytest.raises(LexiconError, match=rf"E110.*entry {number}: .*\(term, category\).*Entry"):
        lexicon.add_terms(terms)
    assert len(lexicon) == 0


@pytest.mark.parametrize(
    "term", ["", " 便血", "便血\n", "便\u200b血", "便\x00血", "便\ud800", "便\t血"]
)
def test_bad_terms(term):
    with pytest.raises(LexiconError, match="entry 1") as caught:
        Lexicon([Entry(term, "SYMPTOM")])
    assert "便" not in str(caught.value)


def test_lone_surrogate_in_text_names_the_position_not_the_text():
    for search in (Lexicon().matches, Lexicon().words):
        with pytest.raises(TCMError, match="Character 2 ") as caught:
            search("便血\udc00")
        assert "便" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_disk_round_trip_is_two_readable_tables(tmp_path):
    lexicon = Lexicon([Entry("北芪", "HERB", "黄芪", "书", "X:1")], [Entry("便血", "SYMPTOM")])
    lexicon.to_disk(tmp_path / "lexicon")
    assert sorted(p.name for p in (tmp_path / "lexicon").iterdir()) == [
        "lexicon.tsv",
        "user_terms.tsv",
    ]
    clone = Lexicon().from_disk(tmp_path / "lexicon")
    assert clone.to_bytes() == lexicon.to_bytes()
    with pytest.raises(LexiconError, match="no lexicon table"):
        Lexicon().from_disk(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"term\tcategory\n\xff\tHERB\n", "line 2: not UTF-8"),
        (b"term\tcategory\na\tHERB\n\xed\xa0\x80\tHERB\n", "line 3: not UTF-8"),
        ("便血\tSYMPTOM\n".encode(), "line 1: the header"),
        (b"", "line 1: the header"),
        (b"term\tcategory\tcolour\n", "line 1: the header"),
        (b"term\tterm\tcategory\n", "line 1: the header"),
        ("term\tcategory\n便血\n".encode(), "line 2: 1 tab-separated"),
        ("term\tcategory\n便血\tSYMPTOM\t\n".encode(), "line 2: 3 tab-separated"),
        ("term\tcategory\n便血\tSYMPTOM\n\n".encode(), "line 3: 1 tab-separated"),
        ("term\tcategory\n便血\tSYMPTON\n".encode(), "line 2: category"),
        (b"term\tcategory\n\tSYMPTOM\n", "line 2: term is empty"),
        ("term\tcategory\n便血 \tSYMPTOM\n".encode(), "line 2: term begins or ends"),
        ("term\tcategory\n\u3000便血\tSYMPTOM\n".encode(), "line 2: term begins or ends"),
        ("term\tcategory\n便\x07血\tSYMPTOM\n".encode(), "line 2: term holds an invisible"),
        (b"term\tcategory\na\tHERB\nb\tHERB\na\tHERB\n", "line 4: same term .* line 2"),
    ],
)
def test_bad_tables_name_file_and_line(tmp_path, table, message):
    path = tmp_path / "terms.tsv"
    path.write_bytes(table)
    with pytest.raises(LexiconError, match=rf"terms\.tsv, {message}"):
        Lexicon.from_tsv(path)


def test_tables_of_other_programs(tmp_path):
    """A byte order mark, CRLF, columns in another order, no final line break, two categories."""
    path = tmp_path / "terms.tsv"
    path.write_bytes("\ufeffcategory\tterm\r\nHERB\t当归\r\nDRUG\t当归".encode())
    assert read_tsv(path) == [Entry("当归", "HERB"), Entry("当归", "DRUG")]


def test_several_paths_and_folders(tmp_path):
    (tmp_path / "b.tsv").write_text(format_tsv([Entry("b", "HERB")]), encoding="utf-8")
    (tmp_path / "a.tsv").write_text(format_tsv([Entry("a", "HERB")]), encoding="utf-8")
    (tmp_path / "README.md").write_text("not a table")
    (tmp_path / "empty").mkdir()
    assert [entry.term for entry in read_tables(tmp_path)] == ["a", "b"]
    assert len(Lexicon.from_tsv([tmp_path / "a.tsv", str(tmp_path / "b.tsv")])) == 2
    with pytest.raises(LexiconError, match="E101"):
        Lexicon.from_tsv(tmp_path / "missing.tsv")
    with pytest.raises(LexiconError, match="E102"):
        Lexicon.from_tsv(tmp_path / "empty")
