"""The windowed transformer: on a tiny encoder, against brute force and plain spacy-transformers."""

import pickle

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_tcm.errors import ModelError
from spacy_tcm.models import multimodal_crf
from spacy_tcm.models.kept_vectors import KeptVectors
from spacy_tcm.training.pretraining.encoder import EncoderShape, build_encoder

SHAPE = EncoderShape(hidden=12, layers=2, heads=2, feed_forward=16, positions=64)
SENTENCES = ["头痛三天，伴恶心。", "舌红苔黄！", "VAS 6分，口干\n", "脉弦细数，便血２０２３.５天；"]
TEXT = "".join(SENTENCES[i % 4] * (i % 3 + 1) for i in range(40))
MOST, OVERLAP = 40, 6
WINDOWS = {
    "@span_getters": "spacy_tcm.subword_windows.v1",
    "max_subwords": MOST,
    "overlap": OVERLAP,
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    out = tmp_path_factory.mktemp("encoder") / "tiny"
    build_encoder([TEXT], out, shape=SHAPE)
    return out


def make(encoder, architecture="spacy_tcm.WindowedTransformer.v1", windows=WINDOWS, **settings):
    nlp = spacy.blank("tcm")
    model = {"@architectures": architecture, "name": str(encoder), "get_spans": windows, **settings}
    nlp.add_pipe("transformer", config={"model": model})
    nlp.initialize()
    return nlp


@pytest.fixture(scope="module")
def nlp(encoder):
    return make(encoder)


def read(nlp, text):
    return nlp.get_pipe("transformer").model.predict([nlp.make_doc(text)])


def vectors(doc):
    """One vector a token: the mean of its pieces, as listeners pool it; None without pieces."""
    data = doc._.trf_data
    if not len(doc):
        return []
    width = data.model_output.last_hidden_state.shape[-1]
    hidden = data.model_output.last_hidden_state.reshape(-1, width)
    ends = numpy.cumsum(data.align.lengths)
    pieces = numpy.split(data.align.dataXd, ends[:-1])
    return [hidden[p].mean(0) if len(p) else None for p in pieces]


def same(some, others):
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            numpy.testing.assert_allclose(a, b, atol=1e-5)


def most_central(doc, windows):
    """Brute force: for each token the window where it is furthest from an edge."""
    chosen = []
    for token in doc:
        margins = {}
        for i, window in enumerate(windows):
            if window.start <= token.i < window.end:
                left = token.i - window.start if window.start else len(doc)
                right = window.end - 1 - token.i if window.end < len(doc) else len(doc)
                margins[i] = min(left, right)
        chosen.append(max(margins, key=margins.__getitem__))  # the first of equals
    return chosen


def test_each_token_has_the_pieces_of_its_most_central_copy(nlp):
    docs = [nlp.make_doc(text) for text in (TEXT, "", "口干", TEXT[5:200])]
    batch = nlp.get_pipe("transformer").model.predict(docs)
    assert len(batch.spans[0]) > 5
    for doc, spans, data in zip(docs, batch.spans, batch.doc_data, strict=True):
        assert len(data.align.lengths) == len(doc)
        width = data.wordpieces.input_ids.shape[1]
        chosen = most_central(doc, spans)
        pieces = iter(data.align.dataXd)
        for token, count in zip(doc, data.align.lengths, strict=True):
            assert count or token.is_space
            mine = [next(pieces) for _ in range(count)]
            assert {piece // width for piece in mine} <= {chosen[token.i]}
            strings = [data.wordpieces.strings[p // width][p % width] for p in mine]
            plain = nlp.get_pipe("transformer").model.tokenizer.tokenize(token.text)
            assert strings == plain


def test_every_token_has_its_context(nlp):
    """The promise of `overlap`, for text of which each token is one subword."""
    text = "头痛三天伴恶心。" * 60
    batch = read(nlp, text)
    width = batch.wordpieces.input_ids.shape[1]
    for i, piece in enumerate(batch.align.dataXd):
        window = batch.spans[0][piece // width]
        assert i - window.start >= OVERLAP or window.start == 0
        assert window.end - 1 - i >= OVERLAP or window.end == len(text)


def test_like_plain_spacy_transformers_where_one_window_is_enough(nlp, encoder):
    plain = make(encoder, "spacy-transformers.TransformerModel.v3")
    for text in [*SENTENCES, " \n", "１\t口"]:
        same(vectors(nlp(text)), vectors(plain(text)))


def test_vectors_are_those_of_the_windows_read_alone(nlp, encoder):
    plain = make(encoder, "spacy-transformers.TransformerModel.v3")
    doc = nlp(TEXT)
    (windows,) = nlp.get_pipe("transformer").model.attrs["get_spans"]([doc])
    alone = [vectors(plain(window.text)) for window in windows]
    chosen = most_central(doc, windows)
    same(vectors(doc), [alone[w][i - windows[w].start] for i, w in enumerate(chosen)])


def test_call_is_pipe(nlp):
    texts = [TEXT, "", "口干", TEXT[30:], " ", TEXT[:90]]
    for text, doc in zip(texts, nlp.pipe(texts, batch_size=4), strict=True):
        same(vectors(doc), vectors(nlp(text)))


@pytest.fixture
def passes(monkeypatch):
    """The padded sizes with which the encoder is called."""
    from transformers import BertModel

    sizes = []
    forward = BertModel.forward

    def counted(self, input_ids, **kwargs):
        sizes.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(BertModel, "forward", counted)
    return sizes


def test_prediction_never_runs_more_subwords_at_once(encoder, passes):
    whole = make(encoder, max_batch_subwords=10**6)
    parts = make(encoder, max_batch_subwords=100)
    passes.clear()
    expected = vectors(whole(TEXT))
    assert len(passes) == 1
    passes.clear()
    found = vectors(parts(TEXT))
    assert len(passes) > 3
    assert all(rows * width <= 100 for rows, width in passes)
    same(found, expected)


def test_all_outputs_of_the_encoder_are_put_together(encoder):
    wanted = {"output_hidden_states": True, "output_attentions": True}
    settings = {"transformer_config": {**wanted, "attn_implementation": "eager"}}
    texts = [TEXT[:150], "口干", TEXT[100:130]]
    whole, parts = (make(encoder, max_batch_subwords=most, **settings) for most in (10**6, 60))
    for a, b in zip(whole.pipe(texts), parts.pipe(texts), strict=True):
        mask = a._.trf_data.wordpieces.attention_mask > 0
        a, b = a._.trf_data.model_output, b._.trf_data.model_output
        assert list(a) == list(b)
        assert {"hidden_states", "attentions", "pooler_output"} <= set(a)
        numpy.testing.assert_allclose(a["pooler_output"], b["pooler_output"], atol=1e-5)
        for x, y in zip(a["hidden_states"], b["hidden_states"], strict=True):
            numpy.testing.assert_allclose(x[mask], y[mask], atol=1e-5)
        for x, y in zip(a["attentions"], b["attentions"], strict=True):
            x, y = x.transpose(0, 2, 1, 3), y.transpose(0, 2, 1, 3)
            numpy.testing.assert_allclose(x[mask], y[mask], atol=1e-5)


def test_50_000_characters(nlp, passes):
    text = "".join(SENTENCES[i % 4] * (i % 7 + 1) for i in range(2000))[:50_000]
    assert len(text) == 50_000
    doc = nlp(text)
    assert max(rows * width for rows, width in passes) <= 4096
    (windows,) = nlp.get_pipe("transformer").model.attrs["get_spans"]([doc])
    assert len(windows) <= 1 + 50_000 / ((MOST - 2 * OVERLAP) / 2)
    found = vectors(doc)
    assert [t.text for t, v in zip(doc, found, strict=True) if v is None and not t.is_space] == []

    # The middle, cut out with a window of context before and behind.
    first, last = len(windows) // 2, len(windows) // 2 + 40
    part = nlp(text[windows[first].start_char : windows[last].end_char])
    start = windows[first].start
    inner = range(windows[first].end, windows[last].start)
    assert len(inner) > 300
    cut_out = vectors(part)
    same([cut_out[i - start] for i in inner], [found[i] for i in inner])


def test_endless_token_takes_several_rows(nlp):
    doc = nlp("口干" + "1." * 80 + "舌红")
    (token,) = (t for t in doc if len(t) > 100)
    data = doc._.trf_data
    pieces = numpy.split(data.align.dataXd, numpy.cumsum(data.align.lengths)[:-1])[token.i]
    assert len(pieces) == len(nlp.get_pipe("transformer").model.tokenizer.tokenize(token.text))
    assert data.wordpieces.input_ids.shape[1] <= SHAPE.positions
    assert all(n for n in data.align.lengths)


def test_a_window_that_the_encoder_cannot_read_whole_is_refused(encoder):
    nlp = make(encoder, windows={**WINDOWS, "max_subwords": 100})
    assert vectors(nlp(TEXT[:62]))
    with pytest.raises(ModelError, match="62 that the encoder reads"):
        nlp(TEXT)


def test_slow_tokenizer_is_refused(encoder):
    nlp = make(encoder, tokenizer_config={"use_fast": False})
    with pytest.raises(ModelError, match="E422"):
        nlp("口干")


def test_training_reaches_every_token_once(nlp, passes):
    model = nlp.get_pipe("transformer").model
    doc = nlp.make_doc(TEXT)
    output, backprop = model.begin_update([doc])
    assert len(passes) == 1, "one pass, as in spacy-transformers"
    hidden = output.model_output.last_hidden_state
    hidden.retain_grad()
    # What a listener sends back for a gradient of 1 at each token.
    from spacy_transformers.layers import trfs2arrays
    from thinc.api import reduce_mean

    pool = trfs2arrays(reduce_mean(), 1.0)
    (pooled,), backprop_pool = pool.begin_update(output.doc_data)
    gradients = backprop_pool([numpy.ones_like(pooled)])
    backprop(output.unsplit_by_doc([g.tensors for g in gradients]))
    got = hidden.grad.numpy().reshape(-1, SHAPE.hidden)
    lengths = numpy.asarray(output.align.lengths)
    expected = numpy.zeros_like(got)
    expected[output.align.dataXd] = (1 / numpy.repeat(lengths, lengths))[:, None]
    numpy.testing.assert_allclose(got, expected, atol=1e-6)
    assert got.sum() == pytest.approx(SHAPE.hidden * (lengths > 0).sum(), rel=1e-5)
    assert model.transformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_gradient_is_that_of_the_windows_read_alone(encoder):
    """Of the loss sum(vectors ** 2) over the central copies, computed by torch alone."""
    import torch

    nlp = make(encoder)
    model = nlp.get_pipe("transformer").model
    for module in model.transformer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    output, backprop = model.begin_update([nlp.make_doc(TEXT)])
    hidden = output.model_output.last_hidden_state
    pieces = torch.as_tensor(output.align.dataXd, dtype=torch.long)
    d_hidden = torch.zeros_like(hidden).reshape(-1, SHAPE.hidden)
    d_hidden[pieces] = 2 * hidden.detach().reshape(-1, SHAPE.hidden)[pieces]
    d_output = output.unsplit_by_doc([[d_hidden.reshape(hidden.shape).numpy()]])
    backprop(d_output)
    weight = model.transformer.embeddings.word_embeddings.weight
    found = weight.grad.clone()

    weight.grad = None
    loss = 0.0
    for i, window in enumerate(output.spans[0]):
        ids = model.tokenizer(window.text, return_tensors="pt")
        alone = model.transformer(**ids).last_hidden_state[0]
        width = hidden.shape[1]
        mine = pieces[pieces // width == i] % width
        loss = loss + (alone[mine] ** 2).sum()
    loss.backward()
    torch.testing.assert_close(found, weight.grad, atol=1e-4, rtol=1e-4)


LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}


@pytest.fixture(scope="module")
def tagger(encoder):
    """A transformer and a listener, trained on records longer than a window."""
    fix_random_seed(0)
    nlp = spacy.blank("tcm")
    model = {
        "@architectures": "spacy_tcm.WindowedTransformer.v1",
        "name": str(encoder),
        "get_spans": WINDOWS,
        "max_batch_subwords": 123,
    }
    nlp.add_pipe("transformer", config={"model": model})
    nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}}
    )
    examples = []
    for text in (TEXT[:200], "", "口干。", TEXT[150:]):
        reference = nlp.make_doc(text)
        for token in reference:
            token.tag_ = "break" if token.text in "。！；" else "text"
        examples.append(Example(nlp.make_doc(text), reference))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    nlp.losses = losses
    return nlp


def tags(nlp, text=TEXT):
    return [token.tag_ for token in nlp(text)]


def test_component_learns(tagger):
    assert {t.text for t in tagger(TEXT) if t.tag_ == "break"} == set("。！；")
    assert tagger.losses["transformer"] > 0


def test_a_listener_reads_a_long_record_in_parts(tagger, monkeypatch):
    monkeypatch.setattr(multimodal_crf, "LONGEST", 30)
    monkeypatch.setattr(multimodal_crf, "CONTEXT", 4)
    docs = [tagger.make_doc(text) for text in (SENTENCES[0], TEXT, SENTENCES[1])]
    transformer = tagger.get_pipe("transformer")
    transformer.set_annotations(docs, transformer.predict(docs))
    tok2vec = tagger.get_pipe("tagger").model.get_ref("tok2vec")
    whole = tok2vec.predict(docs)
    lengths, run = [], tok2vec._func
    monkeypatch.setattr(
        tok2vec, "_func", lambda m, X, is_train: lengths.extend(map(len, X)) or run(m, X, is_train)
    )
    for some in (docs, docs[1:2]):
        found = multimodal_crf._read_tokens(tok2vec, some)
        for mine, theirs in zip(found, whole if len(some) > 1 else whole[1:2], strict=True):
            numpy.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert len(lengths) > 10
    assert max(lengths) <= 30 + 2 * 4


def test_save_and_load(tagger, tmp_path):
    tagger.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    blank = spacy.blank("tcm").from_config(tagger.config).from_bytes(tagger.to_bytes())
    for nlp in (again, blank):
        model = nlp.get_pipe("transformer").model
        assert type(model).__name__ == "WindowedTransformer"
        same(vectors(nlp(TEXT)), vectors(tagger(TEXT)))
        assert tags(nlp) == tags(tagger)


def test_the_size_of_groups_can_be_changed_after_training(tagger, tmp_path, passes):
    tagger.to_disk(tmp_path)
    again = spacy.load(
        tmp_path, config={"components": {"transformer": {"model": {"max_batch_subwords": 60}}}}
    )
    passes.clear()
    again(TEXT)
    assert max(rows * width for rows, width in passes) <= 60


def test_weights_are_exchanged_with_plain_spacy_transformers(tagger, encoder):
    plain = make(encoder, "spacy-transformers.TransformerModel.v3")
    plain.get_pipe("transformer").from_bytes(tagger.get_pipe("transformer").to_bytes())
    same(vectors(plain("舌红苔黄！")), vectors(tagger("舌红苔黄！")))


def test_copy_is_independent(tagger):
    import torch

    model = tagger.get_pipe("transformer").model
    other = model.copy()
    docs = [tagger.make_doc(TEXT)]
    before = model.predict(docs).model_output.last_hidden_state
    assert torch.equal(other.predict(docs).model_output.last_hidden_state, before)
    assert other.max_batch_subwords == 123
    with torch.no_grad():
        other.transformer.embeddings.word_embeddings.weight.zero_()
    assert torch.equal(model.predict(docs).model_output.last_hidden_state, before)


def test_replace_listeners(tagger, tmp_path):
    expected = tags(tagger)
    nlp = spacy.blank("tcm").from_config(tagger.config).from_bytes(tagger.to_bytes())
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    assert tags(nlp) == expected
    assert tags(nlp, "") == []
    nlp.to_disk(tmp_path)
    assert tags(spacy.load(tmp_path)) == expected


def test_pickle(nlp):
    """Worker processes that are spawned, not forked, get the pipeline so."""
    again = pickle.loads(pickle.dumps(nlp.get_pipe("transformer").model))
    docs = [Doc(nlp.vocab, words=list("口干"))]
    a, b = (
        m.predict(docs).model_output.last_hidden_state
        for m in (again, nlp.get_pipe("transformer").model)
    )
    numpy.testing.assert_array_equal(a.numpy(), b.numpy())


def test_learn_rate_scale(encoder):
    """Plain steps of gradient descent are half as long with half the scale."""
    from thinc.api import Optimizer, fix_random_seed

    moved = []
    for scale in (1.0, 0.5):
        fix_random_seed(0)
        model = make(encoder, learn_rate_scale=scale).get_pipe("transformer").model
        model = model.copy()  # keeps the setting
        weight = model.transformer.embeddings.word_embeddings.weight
        before = weight.detach().clone()
        weight.grad = weight.new_ones(weight.shape)
        model.finish_update(Optimizer(0.01, grad_clip=0.0))
        moved.append(float((before - weight.detach()).mean()))
    assert moved == pytest.approx([0.01, 0.005], rel=1e-3)


def test_an_impossible_learn_rate_scale(encoder):
    with pytest.raises(ModelError, match="E424"):
        make(encoder, learn_rate_scale=-0.1)


@pytest.mark.parametrize("scale", [0.0, 0.1])
def test_a_learn_rate_scale_of_0_leaves_the_encoder_as_it_is(encoder, scale):
    nlp = make(encoder, learn_rate_scale=scale)
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}
    tagger = nlp.add_pipe("tagger", config={"model": model})
    reference = Doc(nlp.vocab, words=["口", "干"], spaces=[False, False], tags=["A", "B"])
    examples = [Example(nlp.make_doc("口干"), reference)]
    optimizer = nlp.initialize(lambda: examples)
    weights = dict(nlp.get_pipe("transformer").model.transformer.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    softmax = tagger.model.get_ref("softmax").get_param("W").copy()
    for _ in range(3):  # the tagger begins with zeros, and sends no gradient at first
        nlp.update(examples, sgd=optimizer)
    changed = any((before[name] != weight).any() for name, weight in weights.items())
    assert changed == (scale > 0)
    assert (tagger.model.get_ref("softmax").get_param("W") != softmax).any()


@pytest.mark.parametrize("room", [0, 6, 1000])
def test_a_frozen_encoder_reads_a_text_once(encoder, room):
    """In training it gives what it does in prediction, up to 16 bits."""
    nlp = make(encoder, learn_rate_scale=0.0)
    model = nlp.get_pipe("transformer").model
    model.kept = KeptVectors(room)
    texts = ["口干", "舌淡红苔薄白" * 9, "", "口干"]
    docs = [nlp.make_doc(text) for text in texts]
    expected = model.predict(docs).model_output.last_hidden_state
    read = []
    model.transformer.register_forward_hook(
        lambda _, args, output: read.append(len(output.last_hidden_state))
    )
    for _ in range(2):
        found, _ = model(docs, True)
        subwords = found.wordpieces.attention_mask > 0
        now = found.model_output.last_hidden_state
        numpy.testing.assert_allclose(now[subwords], expected[subwords], rtol=1e-2, atol=1e-2)
    rows = len(set(map(bytes, found.wordpieces.input_ids)))
    assert sum(read) == (rows if room == 1000 else 2 * rows - (room == 6))


def test_vectors_of_other_weights_are_forgotten(encoder):
    nlp = make(encoder, learn_rate_scale=0.0)
    model = nlp.get_pipe("transformer").model
    docs = [nlp.make_doc("口干")]
    model(docs, True)
    weight = model.transformer.embeddings.word_embeddings.weight
    weight.data += torch.randn(weight.shape)
    model.from_bytes(model.to_bytes())
    found, _ = model(docs, True)
    numpy.testing.assert_allclose(
        found.model_output.last_hidden_state,
        model.predict(docs).model_output.last_hidden_state,
        atol=1e-2,
    )


def test_an_encoder_that_cannot_be_loaded_is_named(encoder, tmp_path, capfd, monkeypatch):
    make(encoder)
    assert "newly initialized" not in capfd.readouterr().err  # of a pooler, which nobody uses
    # No name of the hub: a folder that has it beside others is there.
    monkeypatch.setattr("huggingface_hub.file_download.http_get", pytest.fail)
    monkeypatch.chdir(tmp_path.parent)
    for name in (tmp_path / "none", tmp_path, f"{tmp_path.name}/none"):
        with pytest.raises(ModelError, match=f"E428.*{name}"):
            make(name)
