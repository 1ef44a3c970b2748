import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from spacy_tcm.training.pretraining.attention import SCORED, AttentionScores, has_scores

SIZES = {
    "vocab_size": 20,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "embedding_size": 16,
    "initializer_range": 0.5,
}
CONFIGS = [BertConfig, RobertaConfig, XLMRobertaConfig, ElectraConfig, AlbertConfig]


@pytest.mark.parametrize("kind", CONFIGS)
def test_scores_are_what_the_softmax_gets(kind):
    torch.manual_seed(0)
    config = kind(**SIZES)
    net = AutoModel.from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(5, 20, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.no_grad(), AttentionScores(net) as scores:
        output = net(input_ids=ids, attention_mask=mask, output_attentions=True)
    found = scores.all()
    assert len(found) == 3
    for matrix, wanted in zip(found, output.attentions, strict=True):
        hidden = matrix.masked_fill(~mask.bool()[:, None, None, :], -torch.inf)
        assert torch.allclose(hidden.softmax(-1), wanted, atol=1e-5)
        assert wanted.amax() > 0.5, "not flat, which any scores would give"


def test_all_kinds_are_tested():
    assert {kind.model_type for kind in CONFIGS} == set(SCORED)


def test_the_fast_implementation_gives_the_same():
    nets = []
    for how in ("eager", "sdpa"):
        torch.manual_seed(0)
        nets.append(AutoModel.from_config(BertConfig(**SIZES), attn_implementation=how).eval())
    found = []
    for net in nets:
        with torch.no_grad(), AttentionScores(net) as scores:
            net(torch.arange(8)[None])
        found.append(torch.stack(scores.all()))
    assert torch.allclose(*found, atol=1e-5)


def test_nothing_is_caught_outside_or_disabled():
    net = AutoModel.from_config(BertConfig(**SIZES))
    for enabled in (True, False):
        with AttentionScores(net, enabled) as scores:
            pass
        net(torch.arange(8)[None])
        assert scores.all() == []
    with AttentionScores(net, enabled=False) as scores:
        net(torch.arange(8)[None])
    assert scores.all() == []


def test_other_positions_and_kinds_have_no_scores():
    assert has_scores(BertConfig())
    assert not has_scores(BertConfig(position_embedding_type="relative_key"))
    assert not has_scores(DistilBertConfig())
