"""What a run keeps of the photos, beside its records: pixels alone, under names that tell nothing.

with Pictures(out, photos=True) as pictures:
    write_results(annotate(nlp, items, pictures=pictures), out, nlp.meta)
"""

import os
import re
from pathlib import Path

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc

from spacy_tcm.images.heat import draw_heat
from spacy_tcm.images.load import load_tongue_image
from spacy_tcm.images.render import RENDERED

PHOTOS, HEAT_MAPS = "photos", "heat_maps"
PHOTO_SIDE = 360  # pixels, of the longer side
_UNSAFE = re.compile(r"[^\w-]")  # in an attribute's name, which a table of labels may have given
_OURS = re.compile(r"photo-[0-9a-f]{16}(-[\w-]+)?\.jpg")


class Pictures:
    """Writes ``photos/ID.jpg`` and ``heat_maps/ID-ATTRIBUTE.jpg`` into a folder of results.

    ID is the photo's (`spacy_tcm.images.load.photo_id`). They replace those of an earlier run when
    the ``with`` block ends well; until then their folders end in ``.part``, and whatever else ends
    it leaves none of them. Other files in these folders are left alone.
    """

    def __init__(self, out: Path, *, photos: bool = False, heat_maps: bool = False):
        self._out = out
        self._photos = photos
        self._heat_maps = heat_maps

    def __enter__(self) -> "Pictures":
        self._drop_parts()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            for name in (PHOTOS, HEAT_MAPS):
                _clear(self._out / name)
                for path in _ours(self._part(name)):
                    (self._out / name).mkdir(exist_ok=True)
                    os.replace(path, self._out / name / path.name)
        self._drop_parts()

    def save(self, photo: str, doc: Doc, path: str) -> None:
        """Keep what was asked for of one photo.

        photo: its id. doc: as the pipeline leaves it: of a photo that `tongue_encoder` has cropped,
            no more than the crop is kept. path: of the photo's file.
        """
        if self._photos:
            self._save(_shown(doc._.tongue_image), PHOTOS, f"{photo}.jpg", path)
        if self._heat_maps and doc._.tongue_heat is not None:
            heat = doc._.tongue_heat
            for attribute, heat_map in heat["maps"].items():
                picture = draw_heat(heat["photo"], heat_map, heat["mask"])
                self._save(picture, HEAT_MAPS, _file_name(photo, attribute), path)

    def _save(
        self, pixels: NDArray[numpy.uint8] | None, folder: str, name: str, source: str
    ) -> None:
        """source: the photo's file. Of what it says of itself only that it is rendered is kept."""
        target = self._part(folder) / name
        if pixels is None or target.exists():
            return
        from PIL import Image

        target.parent.mkdir(exist_ok=True)
        comment = {"comment": RENDERED} if is_rendered(Path(source)) else {}
        Image.fromarray(pixels).save(target, "JPEG", quality=85, **comment)

    def _part(self, name: str) -> Path:
        return self._out / f"{name}.part"

    def _drop_parts(self) -> None:
        for name in (PHOTOS, HEAT_MAPS):
            _clear(self._part(name))


def find_picture(out: Path, photo: str | None, attribute: str | None = None) -> Path | None:
    """The file of a photo, or of its heat map of an attribute; None if there is none.

    photo: its id, as in a record.
    """
    if photo is None:
        return None
    name = f"{photo}.jpg" if attribute is None else _file_name(photo, attribute)
    path = out / (PHOTOS if attribute is None else HEAT_MAPS) / name
    return path if _OURS.fullmatch(name) and path.is_file() else None


def is_rendered(path: Path) -> bool:
    """Whether an image file says of itself that it was rendered, not photographed."""
    from PIL import Image

    with Image.open(path) as file:
        comment = file.info.get("comment")
    return isinstance(comment, bytes) and RENDERED.encode() in comment


def _file_name(photo: str, attribute: str) -> str:
    return f"{photo}-{_UNSAFE.sub('_', attribute)}.jpg"


def _shown(image: object) -> NDArray[numpy.uint8] | None:
    """What of ``doc._.tongue_image`` is shown: a crop as it is, a file small."""
    if isinstance(image, numpy.ndarray):
        return image
    loaded = load_tongue_image(image, PHOTO_SIDE)
    if loaded.pixels is None:
        return None
    top, left, height, width = loaded.content
    return loaded.pixels[top : top + height, left : left + width]  # without the padding


def _ours(folder: Path) -> list[Path]:
    """The pictures in a folder that need not exist."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]


def _clear(folder: Path) -> None:
    """Delete the pictures, and the folder if it held nothing else."""
    for path in _ours(folder):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
