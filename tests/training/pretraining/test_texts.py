import json
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.training.pretraining.encoder import SPECIAL
from spacy_tcm.training.pretraining.texts import SHARED, cut, prepare_texts, read_vocabulary

HERBS = "黄芪当归川芎白术茯苓甘草陈皮半夏柴胡黄芩"
OTHER = "股票市场今天收盘价格上涨银行利率房地产投资"


def write(path, texts):
    """One text a line if it is a .jsonl, else one text."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    else:
        lines = texts
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def sentences(letters, count, seed=1):
    """Different ones of 20 characters."""
    import random

    chance = random.Random(seed)
    return ["".join(chance.choices(letters, k=19)) + "。" for _ in range(count)]


def everything(texts):
    return [
        *texts.domain,
        *texts.general,
        *texts.held_out_domain,
        *texts.held_out_general,
    ]


@given(
    st.lists(st.text("口干。！,\n \u3000ab", max_size=40), max_size=5),
    st.integers(min_value=1, max_value=20),
)
def test_chunks_join_to_the_text_and_are_never_too_long(lines, size):
    chunks = list(cut([lines], size))
    wanted = "".join(" ".join(line.split()) for line in lines)
    assert "".join(chunks) == wanted
    assert all(0 < len(chunk) <= size for chunk in chunks)


def test_sentences_stay_whole_where_they_fit():
    assert list(cut([["口干。舌淡红。", "脉弦。"]], 7)) == ["口干。舌淡红。", "脉弦。"]
    assert list(cut([["口干。舌淡红"], ["脉弦"]], 5)) == ["口干。", "舌淡红", "脉弦"]


def test_no_chunk_has_text_of_an_excluded_file(tmp_path):
    every = sentences(HERBS, 60)
    hidden = every[7]
    domain = write(tmp_path / "domain.jsonl", every)
    # The same text, but for spaces and line ends.
    excluded = write(tmp_path / "dev.txt", [hidden[:6] + " \u3000" + hidden[6:13], hidden[13:]])
    found = everything(prepare_texts([domain], exclude=[excluded], size=40))
    assert len(found) == 59
    assert hidden not in found

    grams = {hidden[i : i + SHARED] for i in range(len(hidden) - SHARED + 1)}
    in_part = write(tmp_path / "part.jsonl", [OTHER[:5] + hidden[4:18] + OTHER[5:9], *every[8:]])
    kept = everything(prepare_texts([in_part], exclude=[excluded], size=40))
    assert len(kept) == 52
    assert not any(gram in chunk for gram in grams for chunk in kept)


def test_each_chunk_once_over_all_files(tmp_path):
    some = sentences(HERBS, 30)
    domain = write(tmp_path / "a.jsonl", [*some, *some])
    spaced = [text[:5] + " " + text[5:] for text in some]
    general = write(tmp_path / "b.jsonl", [*spaced, *sentences(OTHER, 10)])
    texts = prepare_texts([domain, domain], [general], size=40)
    assert sorted([*texts.domain, *texts.held_out_domain]) == sorted(some)
    assert len([*texts.general, *texts.held_out_general]) == 10


def test_held_out_texts_are_not_trained_on(tmp_path):
    domain = write(tmp_path / "a.jsonl", sentences(HERBS, 1000))
    texts = prepare_texts([domain], size=40)
    assert len(texts.domain) + len(texts.held_out_domain) == 1000
    assert 0 < len(texts.held_out_domain) < 20
    assert not set(texts.domain) & set(texts.held_out_domain)


def test_keeps_the_general_texts_that_are_like_the_domain(tmp_path):
    domain = write(tmp_path / "a.jsonl", sentences(HERBS, 200, seed=1))
    alike, unlike = sentences(HERBS, 100, seed=2), sentences(OTHER, 100, seed=3)
    mixed = [text for pair in zip(alike, unlike, strict=True) for text in pair]
    general = write(tmp_path / "b.jsonl", mixed)
    texts = prepare_texts([domain], [general], keep=0.5, size=20)
    kept = set(texts.general) | set(texts.held_out_general)
    assert kept == set(alike)
    everything_kept = prepare_texts([domain], [general], keep=1.0, size=20)
    assert len(everything_kept.general) + len(everything_kept.held_out_general) == 200


def test_reads_compressed_text_and_a_byte_order_mark(tmp_path):
    some = sentences(HERBS, 4)
    with lzma.open(tmp_path / "a.txt.xz", "wt", encoding="utf8") as file:
        file.write("\n".join(some[:2]))
    (tmp_path / "b.txt").write_text("\n".join(some[2:]), encoding="utf-8-sig")
    texts = prepare_texts([tmp_path / "a.txt.xz", tmp_path / "b.txt"], size=20)
    assert everything(texts) == some


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\n", "E416"),
        ("a.txt", "口干".encode("gb18030"), "E417.*UnicodeDecodeError"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "E417.*JSONDecodeError, line 2"),
        ("a.jsonl", b'{"txt": "x"}\n', "E417.*no field 'text', line 1"),
        ("a.jsonl", b"\n[1]\n", "E417.*TypeError, line 2"),
        ("a.jsonl", b'{"text": 3}\n', "E417.*TypeError, line 1"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "E417.*UnicodeEncodeError, line 1"),
        ("a.xz", b"not compressed", "E417.*LZMAError"),
        ("a.txt.xz", lzma.compress("口干。".encode() * 99)[:-30], "E417.*EOFError"),
        ("a.txt", b"", "E415.*empty"),
        ("a.txt", None, "E417.*no such file"),
    ],
)
def test_bad_files_are_named_with_the_cause(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        prepare_texts([path], size=40)
    assert "E415" in message or name in str(caught.value)


def test_bad_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, "口"]) + "\n", encoding="utf8")
    assert read_vocabulary(path) == [*SPECIAL, "口"]
    with pytest.raises(ModelError, match=r"E417.*none.*no such file"):
        read_vocabulary(tmp_path / "none.txt")
    for content, missing in [("", r"\[PAD\], .*\[MASK\]"), ("[PAD]\n[CLS]\n[SEP]\n", r"\[UNK\]")]:
        path.write_text(content, encoding="utf8")
        with pytest.raises(ModelError, match=rf"E433.*vocab\.txt.*{missing}"):
            read_vocabulary(path)


def test_a_folder_without_texts_is_named(tmp_path):
    domain = write(tmp_path / "domain.jsonl", sentences(HERBS, 9))
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "dev.csv").write_text("text", encoding="utf8")
    for arguments in ({"exclude": [tests]}, {"general": [tests]}):
        with pytest.raises(ModelError, match=r"E436.*tests"):
            prepare_texts([domain], **arguments)


def test_what_is_excluded_is_counted(tmp_path):
    every = sentences(HERBS, 20)
    domain = write(tmp_path / "domain.jsonl", every)
    excluded = write(tmp_path / "dev.jsonl", every[:3])
    assert prepare_texts([domain], exclude=[excluded], size=40).excluded == 3
    with pytest.raises(ModelError, match=r"E415.*--exclude dropped each of 20 chunks"):
        prepare_texts([domain], exclude=[domain], size=40)


def test_a_folder_stands_for_its_texts(tmp_path):
    (tmp_path / "b.txt").write_text("脉弦细数。", encoding="utf8")
    (tmp_path / "a.jsonl").write_text('{"text": "便血三天。"}\n', encoding="utf8")
    (tmp_path / "README.md").write_text("no text", encoding="utf8")
    texts = prepare_texts([tmp_path])
    assert texts.domain + texts.held_out_domain == ["便血三天。", "脉弦细数。"]
