import json

from typer.testing import CliRunner

from spacy_tcm.cli.app import app


def run(*args):
    return CliRunner().invoke(app, ["init-encoder", *map(str, args)])


def test_makes_a_hugging_face_folder(tmp_path):
    from transformers import AutoModel

    corpus = tmp_path / "a.jsonl"
    record = {"id": "a", "text": "舌淡红", "entities": []}
    corpus.write_text(json.dumps(record) + "\n", encoding="utf8")
    (tmp_path / "lexicon.tsv").write_text("term\tcategory\n黄芪\tHERB\n", encoding="utf8")
    shape = ["--hidden", 8, "--layers", 1, "--heads", 2, "--feed-forward", 8]
    out = tmp_path / "encoder"
    lexicon = ["--lexicon", tmp_path / "lexicon.tsv"]
    result = run(out, "--corpus", corpus, *lexicon, *shape)
    assert result.exit_code == 0, result.output
    assert set("舌淡红黄芪") < set((out / "vocab.txt").read_text(encoding="utf8").split())
    assert AutoModel.from_pretrained(out).config.hidden_size == 8
    again = run(out, "--corpus", corpus)
    assert again.exit_code == 1
    assert "E412" in again.output


def test_missing_corpus_is_said(tmp_path):
    result = run(tmp_path / "x", "--corpus", tmp_path / "none.jsonl")
    assert result.exit_code == 1
    assert "none.jsonl" in result.output


def test_what_cannot_be_made_is_said_before_anything_is_written(tmp_path):
    corpus = tmp_path / "a.jsonl"
    corpus.write_text(json.dumps({"id": "a", "text": "舌", "entities": []}), encoding="utf8")
    before = corpus.read_bytes()
    for arguments, code in [
        ((tmp_path / "out", "--corpus", corpus, "--heads", 7), "E408"),
        ((corpus, "--corpus", corpus), "E412"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1
        assert f"[{code}]" in result.output
    assert list(tmp_path.iterdir()) == [corpus]
    assert corpus.read_bytes() == before
