"""A BERT of our own shape, made locally: no download is needed to train one."""

import shutil
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from spacy_tcm.errors import Errors, ModelError

if TYPE_CHECKING:
    from transformers import BertConfig, BertTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Tokens rarer than this are not worth a row of the embedding table.
RARE = 5

_RUNS = string.ascii_lowercase + string.digits


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

    def config(self, vocabulary: int) -> "BertConfig":
        from transformers import BertConfig

        return BertConfig(
            vocab_size=vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.feed_forward,
            max_position_embeddings=self.positions,
            pad_token_id=0,
        )


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
    from transformers import BertModel

    shape = shape or EncoderShape()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(Errors.E412.format(path=out))
    vocabulary = make_vocabulary(texts)
    if len(vocabulary) == len(SPECIAL):
        raise ModelError(Errors.E414)
    write_tokenizer(vocabulary, out, shape.positions)
    torch.manual_seed(seed)
    BertModel(shape.config(len(vocabulary))).save_pretrained(out)
    share_weights(out)
    return len(vocabulary)


def write_tokenizer(vocabulary: Sequence[str], out: Path, positions: int) -> "BertTokenizerFast":
    """Write ``vocab.txt`` and the WordPiece tokenizer of it into a folder.

    It lower-cases and applies NFKC: without, full-width digits and letters would all be [UNK].
    """
    from tokenizers import normalizers
    from transformers import BertTokenizerFast

    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf8")
    tokenizer = BertTokenizerFast(vocab_file=str(out / "vocab.txt"), strip_accents=False)
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), backend.normalizer])
    tokenizer.model_max_length = positions
    tokenizer.save_pretrained(out)
    return tokenizer


def make_tokenizer(vocabulary: Sequence[str], positions: int) -> "BertTokenizerFast":
    """That of `write_tokenizer`, without its files."""
    with TemporaryDirectory() as folder:
        return write_tokenizer(vocabulary, Path(folder), positions)


def share_weights(folder: Path) -> None:
    """Let those read the weights who can read the other files: safetensors lets the owner only."""
    shutil.copymode(folder / "config.json", folder / "model.safetensors")


def make_vocabulary(texts: Iterable[str]) -> list[str]:
    """WordPiece vocabulary of single characters, most frequent first, special tokens before.

    Latin letters and digits come also as continuations (``##a``), since runs of them are words.
    """
    counts = _count_characters(texts)
    seen = [c for c, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if not seen:
        return list(SPECIAL)
    rest = [c for c in _RUNS + string.punctuation if c not in counts]
    return [*SPECIAL, *seen, *rest, *(f"##{c}" for c in _RUNS)]


def trim_vocabulary(full: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The tokens of a larger WordPiece vocabulary that occur in the texts, in their order there.

    Kept are tokens that occur at least `RARE` times, and always the special ones, letters, digits
    and punctuation. Behind them come characters that occur as often and that the full vocabulary
    lacks, such as those of rare herbs.
    """
    tokenizer = make_tokenizer(full, 512)
    found: Counter[int] = Counter()
    for start in range(0, len(texts), 10_000):
        batch = tokenizer(texts[start : start + 10_000], add_special_tokens=False)
        for ids in batch["input_ids"]:
            found.update(ids)
    always = [*SPECIAL, *_RUNS, *string.punctuation, *(f"##{c}" for c in _RUNS)]
    ids = tokenizer.get_vocab()
    kept = [token for token in full if token in always or found[ids[token]] >= RARE]
    often = sorted(c for c, n in _count_characters(texts).items() if n >= RARE)
    lacking = dict.fromkeys(token for token in [*always, *often] if token not in ids)
    return [*kept, *lacking]


def _count_characters(texts: Iterable[str]) -> Counter[str]:
    """Of the printable characters, as the tokenizer sees them."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(unicodedata.normalize("NFKC", text).lower())
    return Counter({c: n for c, n in counts.items() if c.isprintable() and not c.isspace()})
