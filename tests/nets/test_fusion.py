import pytest
import torch

from spacy_tcm.nets.fusion import BiLSTM, Tagger, TaggerArch

ARCH = TaggerArch(width=12, lexicon=8, tongue=6, tags=5, heads=4, hidden=7, layers=2)


def batch(n=3, length=6, seed=0):
    torch.manual_seed(seed)
    return {
        "tokens": torch.randn(n, length, ARCH.width),
        "lengths": torch.tensor([length, 1, 4][:n]),
        "lexicon": torch.randint(0, 2, (n, length, ARCH.lexicon)).float(),
        "regions": torch.randn(n, 4, ARCH.tongue),
        "present": torch.tensor([True, False, True][:n]),
    }


@pytest.fixture
def tagger():
    torch.manual_seed(1)
    tagger = Tagger(ARCH).eval()
    torch.nn.init.normal_(tagger.fusion.null)
    return tagger


def test_bilstm_equals_torch_on_each_sequence():
    torch.manual_seed(0)
    ours = BiLSTM(5, 3, 1, 0.0)
    theirs = torch.nn.LSTM(5, 3, batch_first=True, bidirectional=True)
    state = ours.ahead[0].state_dict() | {
        f"{k}_reverse": v for k, v in ours.back[0].state_dict().items()
    }
    theirs.load_state_dict(state)
    x, lengths = torch.randn(3, 6, 5), torch.tensor([6, 1, 4])
    y = ours(x, lengths)
    for i, n in enumerate(lengths):
        assert torch.allclose(y[i, :n], theirs(x[i : i + 1, :n])[0][0], atol=1e-6)


def test_padding_and_neighbours_change_nothing(tagger):
    b = batch()
    together, gates = tagger(**b)
    for i, n in enumerate(b["lengths"]):
        alone, gate = tagger(
            b["tokens"][i : i + 1, :n],
            b["lengths"][i : i + 1],
            b["lexicon"][i : i + 1, :n],
            b["regions"][i : i + 1],
            b["present"][i : i + 1],
        )
        assert torch.allclose(together[i, :n], alone[0], atol=1e-6)
        assert torch.allclose(gates[i, :n], gate[0], atol=1e-6)


def test_without_photo_the_regions_do_not_matter(tagger):
    b = batch()
    b["present"] = torch.zeros(3, dtype=torch.bool)
    one, gates = tagger(**b)
    assert not gates.any()
    b["regions"] = torch.full_like(b["regions"], 99.0)
    assert torch.equal(one, tagger(**b)[0])


def test_with_photo_they_do(tagger):
    b = batch()
    one, gates = tagger(**b)
    assert ((gates > 0) & (gates < 1)).tolist() == [[True] * 6, [False] * 6, [True] * 6]
    b["regions"] = b["regions"] + 1
    two, _ = tagger(**b)
    assert not torch.allclose(one[0], two[0])
    assert torch.equal(one[1, :1], two[1, :1])


def test_closed_gate_leaves_the_tokens(tagger):
    b = batch()
    with torch.no_grad():
        tagger.fusion.gate.weight.zero_()
        tagger.fusion.gate.bias.fill_(-1e4)
    fused, gates = tagger.fusion(b["tokens"], b["regions"], b["present"])
    assert torch.equal(fused[0], b["tokens"][0])
    assert not gates.any()


@pytest.mark.parametrize("heads", [4, 12])
@pytest.mark.parametrize("gate", [True, False])
def test_gradients_reach_every_parameter(heads, gate):
    torch.manual_seed(0)
    tagger = Tagger(TaggerArch(12, 8, 6, 5, heads=heads, gate=gate, hidden=7, dropout=0.0))
    tagger(**batch())[0].square().sum().backward()
    without = [n for n, p in tagger.named_parameters() if p.grad is None or not p.grad.any()]
    # Softmax ignores what is added to all keys alike, so this bias of torch's never learns.
    assert without in ([], ["fusion.attention.in_proj_bias"])


def test_text_only_without_lexicon():
    tagger = Tagger(TaggerArch(12, 0, 0, 5))
    b = batch()
    assert tagger(**{**b, "lexicon": torch.zeros(3, 6, 0)})[0].shape == (3, 6, 5)
