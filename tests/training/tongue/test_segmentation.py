import numpy
import pytest
from PIL import Image, ImageDraw

from spacy_tcm.errors import RecordError
from spacy_tcm.training.tongue.segmentation import (
    is_held_out,
    measure_dice,
    read_masked_photos,
    read_trunk,
    train_segmenter,
)

SIDE = 64


def draw(seed):
    """A pink disk on skin, and its mask; wider than high, so that it is padded."""
    random = numpy.random.default_rng(seed)
    noise = random.integers(-12, 12, (60, 80, 3))
    photo = Image.fromarray((numpy.array((205, 160, 130)) + noise).clip(0, 255).astype("uint8"))
    mask = Image.new("L", photo.size)
    x, y, r = random.integers(25, 55), random.integers(22, 38), random.integers(12, 20)
    for image, colour in ((photo, (190, 80, 95)), (mask, 255)):
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), colour)
    return photo, mask


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for seed in range(8):
        photo, mask = draw(seed)
        photo.save(tmp_path / "images" / f"{seed}.jpg")
        mask.save(tmp_path / "masks" / f"{seed}.png")
    return tmp_path


def test_photos_and_masks_are_padded_alike(folder):
    photos = read_masked_photos(folder, SIDE)
    assert [photo.name for photo in photos] == [str(n) for n in range(8)]
    for photo in photos:
        assert photo.pixels.shape == (SIDE, SIDE, 3)
        assert photo.mask.shape == (SIDE, SIDE)
        assert not photo.mask[:8].any(), "padding"
        inside, outside = photo.pixels[photo.mask], photo.pixels[20:44][~photo.mask[20:44]]
        assert inside[:, 1].mean() < 100 < outside[:, 1].mean()


def test_which_photos_are_held_out(folder):
    by_name = {p.name for p in read_masked_photos(folder, SIDE, 0.5) if p.held_out}
    assert by_name == {str(n) for n in range(8) if is_held_out(str(n), 0.5)}
    assert 0 < len(by_name) < 8
    rows = "".join(f"{n},{'dev' if n in (2, 5) else 'train'}\n" for n in range(8))
    (folder / "labels.csv").write_text("image,split\n" + rows, encoding="utf8")
    assert [p.name for p in read_masked_photos(folder, SIDE, 0.5) if p.held_out] == ["2", "5"]
    (folder / "labels.csv").write_text("image\n1\n", encoding="utf8")
    assert {p.name for p in read_masked_photos(folder, SIDE, 0.5) if p.held_out} == by_name


def test_learns_to_find_disks(folder):
    photos = read_masked_photos(folder, SIDE)
    steps = []
    net = train_segmenter(
        photos,
        trunk=None,
        epochs=40,
        batch_size=8,
        rate=5e-3,
        seed=1,
        report=lambda step, of, loss: steps.append((step, of, loss)),
    )
    assert [step[:2] for step in steps] == [(n, 40) for n in range(1, 41)]
    assert steps[-1][2] < steps[0][2] / 2
    assert not net.training
    assert numpy.mean(measure_dice(net, photos)) > 0.8


def test_dice_of_known_overlap(folder):
    photo = read_masked_photos(folder, SIDE)[0]

    def half(pixels):
        import torch

        scores = torch.full((len(pixels), SIDE, SIDE), -1.0)
        scores[:, : SIDE // 2] = 1
        return scores

    area, upper = photo.mask.sum(), photo.mask[: SIDE // 2].sum()
    assert measure_dice(half, [photo]) == pytest.approx([2 * upper / (SIDE**2 / 2 + area)])


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda f: (f / "masks" / "3.png").unlink(), r"E372.*3\.jpg"),
        (lambda f: (f / "masks" / "3.png").write_bytes(b"no"), r"E374.*3\.png"),
        (lambda f: Image.new("L", (20, 90)).save(f / "masks" / "3.png"), r"E375.*3\.png"),
        (lambda f: (f / "images" / "3.jpg").write_bytes(b"no"), r"E371.*3\.jpg.*wrong_type"),
        (lambda f: [p.unlink() for p in (f / "images").glob("*")], "E373.*images"),
    ],
)
def test_errors_name_the_file(folder, harm, code):
    harm(folder)
    with pytest.raises(RecordError, match=code):
        read_masked_photos(folder, SIDE)


def test_trunk_that_is_none(tmp_path):
    with pytest.raises(RecordError, match="E377"):
        read_trunk(tmp_path / "trunk.safetensors")
    (tmp_path / "trunk.safetensors").write_bytes(b"no")
    with pytest.raises(RecordError, match="E377"):
        read_trunk(tmp_path / "trunk.safetensors")
