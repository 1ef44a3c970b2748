"""A BERT of our own shape, made locally: no download is needed to train one."""

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spacy_tcm.errors import Errors, ModelError

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class EncoderShape:
    """The default is TinyBERT's (Jiao et al. 2020): 4 layers, 312 wide, 12 heads.

    RAISES ModelError: the heads do not divide the width.
    """

    hidden: int = 312
    layers: int = 4
    heads: int = 12
    feed_forward: int = 1200
    positions: int = 512

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ModelError(Errors.E408.format(width=self.hidden, heads=self.heads))


def build_encoder(
    texts: Iterable[str], out: Path, *, shape: EncoderShape | None = None, seed: int = 0
) -> int:
    """Write a BERT with random weights as an ordinary Hugging Face folder (safetensors).

    texts: their characters, after NFKC and lower-casing, become the vocabulary; the text itself
        is never changed, only how the subword tokenizer reads it.
    RETURNS: size of the vocabulary.
    RAISES ModelError: out is there and no empty folder, or there is no text.
    """
    import torch
    from tokenizers import normalizers
    from transformers import BertConfig, BertModel, BertTokenizerFast

    shape = shape or EncoderShape()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(Errors.E412.format(path=out))
    vocabulary = make_vocabulary(texts)
    if len(vocabulary) == len(_SPECIAL):
        raise ModelError(Errors.E414)
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf8")
    tokenizer = BertTokenizerFast(vocab_file=str(out / "vocab.txt"), strip_accents=False)
    # Without NFKC, full-width digits and letters would all be [UNK].
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), backend.normalizer])
    tokenizer.model_max_length = shape.positions
    tokenizer.save_pretrained(out)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.positions,
        pad_token_id=0,
    )
    BertModel(config).save_pretrained(out)
    return len(vocabulary)


def make_vocabulary(texts: Iterable[str]) -> list[str]:
    """WordPiece vocabulary of single characters, most frequent first, special tokens before.

    Latin letters and digits come also as continuations (``##a``), since runs of them are words.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(unicodedata.normalize("NFKC", text).lower())
    seen = [c for c, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    characters = [c for c in seen if not c.isspace() and c.isprintable()]
    if not characters:
        return list(_SPECIAL)
    runs = string.ascii_lowercase + string.digits
    rest = [c for c in runs + string.punctuation if c not in counts]
    return [*_SPECIAL, *characters, *rest, *(f"##{c}" for c in runs)]
