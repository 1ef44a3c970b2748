"""``spacy_tcm.TonguePhotoCorpus.v1``: labelled tongue photos as spaCy Examples, without text."""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from spacy.language import Language
from spacy.training import Example

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.extensions import install_extensions

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
RESERVED = ("image", "split")
Part = Literal["all", "learned", "held_out"]


def create_photo_corpus(
    labels: str | Path,
    image_root: str | Path | None = None,
    split: str | None = None,
    attributes: list[str] | None = None,
    limit: int = 0,
    held_out: float = 0.0,
    part: Part = "all",
) -> "TonguePhotoCorpus":
    """``spacy_tcm.TonguePhotoCorpus.v1`` for ``[corpora]``.

    labels: a CSV file with the column ``image`` (a file's name, with or without suffix), a column
        for each attribute, and perhaps ``split``. An empty cell says that the attribute is not
        known, never that it is absent.
    image_root: the folder of the photos; default: ``images`` beside the file.
    split: the value of ``split`` to read; None reads all.
    attributes: the columns to read; None: all but image and split.
    limit: the number of photos read; 0: all.
    held_out: the share of the photos that is set apart, by the hash of their names.
    part: "learned" reads all but those, "held_out" those alone.
    RAISES RecordError: held_out is no share, or there is no such part.
    """
    return TonguePhotoCorpus(labels, image_root, split, attributes, limit, held_out, part)


class TonguePhotoCorpus:
    """Call it with a pipeline for one pass over the Examples; see `create_photo_corpus`."""

    def __init__(
        self,
        labels: str | Path,
        image_root: str | Path | None = None,
        split: str | None = None,
        attributes: Sequence[str] | None = None,
        limit: int = 0,
        held_out: float = 0.0,
        part: Part = "all",
    ):
        if not 0 <= held_out < 1 or part not in get_args(Part):
            raise RecordError(Errors.E385.format(held_out=held_out, part=part))
        self.labels = Path(labels)
        self.image_root = self.labels.parent / "images" if image_root is None else Path(image_root)
        self.split = split
        self.attributes = attributes
        self.limit = limit
        self.held_out = held_out
        self.part = part

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """RAISES RecordError: the file is missing or lacks a column, a photo is missing, or no
        photo has a label."""
        install_extensions()
        n_read = 0
        for name, values in self._rows():
            if self.limit and n_read >= self.limit:
                break
            apart = is_held_out(name, self.held_out)
            if self.part != "all" and apart != (self.part == "held_out"):
                continue
            n_read += 1
            predicted, reference = nlp.make_doc(""), nlp.make_doc("")
            for doc in (predicted, reference):
                doc._.record_id = name
                doc._.tongue_image = self._find(name)
            reference._.tongue_labels = values
            yield Example(predicted, reference)
        if not n_read:
            raise RecordError(Errors.E383.format(path=self.labels, split=self.split or "any"))

    def _rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        if not self.labels.is_file():
            raise RecordError(Errors.E381.format(path=self.labels))
        with self.labels.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            wanted = [c for c in columns if c not in RESERVED]
            wanted = list(self.attributes) if self.attributes is not None else wanted
            needed = ["image", *wanted, *(["split"] if self.split is not None else [])]
            if lacking := [name for name in needed if name not in columns]:
                raise RecordError(Errors.E382.format(path=self.labels, columns=", ".join(lacking)))
            for row in reader:
                known = {name: row[name] for name in wanted if row[name]}
                if known and (self.split is None or row["split"] == self.split):
                    yield row["image"], known

    def _find(self, name: str) -> str:
        paths = [self.image_root / f"{name}{suffix}" for suffix in ("", *SUFFIXES)]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            raise RecordError(Errors.E384.format(path=self.labels, name=name, root=self.image_root))
        return str(found)


def is_held_out(name: str, share: float) -> bool:
    """Whether a photo of that name is kept for evaluation: by its hash, the same everywhere."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return number / 2**64 < share
