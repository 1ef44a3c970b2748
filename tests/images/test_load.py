"""Broken, hostile and unusual photos: each one gives a reason, and none an exception."""

import contextlib
import io
import os
import socket
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from spacy_tcm.errors import RecordError, TCMError
from spacy_tcm.images import load
from spacy_tcm.images.load import load_tongue_image, resolve_inside
from spacy_tcm.images.reasons import REASONS, explain
from spacy_tcm.images.render import random_attributes, render_tongue

# Four coloured quarters: any turn, flip or cut shows.
QUARTERS = numpy.zeros((60, 100, 3), dtype="uint8")
QUARTERS[:30, :50], QUARTERS[:30, 50:] = (200, 40, 40), (40, 200, 40)
QUARTERS[30:, :50], QUARTERS[30:, 50:] = (40, 40, 200), (220, 210, 60)


def encode(image=QUARTERS, format="JPEG", **options):
    buffer = io.BytesIO()
    if isinstance(image, numpy.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, format, **options)
    return buffer.getvalue()


JPEG = encode(quality=90)
PNG = encode(format="PNG")


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width, height):
    """A PNG of a few bytes that claims to be of any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def check(result, size):
    """What holds for every result."""
    assert result.status in ("ok", "none", "rejected")
    assert (result.pixels is not None) == (result.status == "ok")
    assert bool(result.reasons) == (result.status == "rejected")
    assert set(result.reasons) <= set(REASONS)
    if result.pixels is not None:
        assert result.pixels.shape == (size, size, 3)
        assert result.pixels.dtype == numpy.uint8
    return result


def load_ok(image, size=64):
    result = check(load_tongue_image(image, size), size)
    assert result.status == "ok", result.reasons
    return result


def reason_of(image, size=64):
    result = check(load_tongue_image(image, size), size)
    assert result.status == "rejected"
    assert len(result.reasons) == 1
    return result.reasons[0]


def close(pixels, reference, tolerance=12):
    difference = numpy.abs(pixels.astype(int) - reference.astype(int))
    return difference.mean() < tolerance


# --- what is accepted


def test_no_image():
    result = load_tongue_image(None, 64)
    assert result.status == "none"
    assert (result.reasons, result.pixels, result.quality) == ((), None, {})


@pytest.mark.parametrize("size", [32, 64, 100, 224, 400])
def test_the_whole_photo_is_kept_and_padded(size):
    pixels = load_ok(QUARTERS, size).pixels
    height = round(0.6 * size)
    top = (size - height) // 2
    assert not pixels[:top].any()
    assert not pixels[top + height :].any()
    content = pixels[top : top + height]
    assert content.shape == (height, size, 3)
    for row, column in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        assert tuple(content[row, column]) == tuple(QUARTERS[row, column])


def test_tall_photo_is_padded_left_and_right():
    pixels = load_ok(numpy.ascontiguousarray(QUARTERS.transpose(1, 0, 2)), 100).pixels
    assert not pixels[:, :20].any()
    assert not pixels[:, 80:].any()
    assert pixels[:, 20:80].any(axis=2).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_path_bytes_and_array_agree(tmp_path, format):
    data = encode(format=format)
    path = tmp_path / "舌 照.bin"  # the content decides, not the name
    path.write_bytes(data)
    from_bytes, from_path = load_ok(data), load_ok(str(path))
    numpy.testing.assert_array_equal(from_bytes.pixels, from_path.pixels)
    assert from_bytes.quality == from_path.quality
    assert close(from_bytes.pixels, load_ok(QUARTERS).pixels)


def test_array_may_be_a_view_and_is_not_shared():
    view = numpy.repeat(QUARTERS, 2, axis=0)[::2, ::-1][:, ::-1]
    before = load_ok(view, 100)
    numpy.testing.assert_array_equal(before.pixels[20:80], QUARTERS)
    array = QUARTERS.copy()
    result = load_ok(array, 100)
    array[:] = 0
    assert result.pixels[20:80].any()
    assert result.pixels.flags.writeable
    readonly = QUARTERS.copy()
    readonly.flags.writeable = False
    load_ok(readonly)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(format, orientation):
    undo = {  # what a camera did to the upright photo before it wrote this orientation
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: numpy.rot90(a),
        7: lambda a: numpy.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: numpy.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encode(numpy.ascontiguousarray(undo(QUARTERS)), format, exif=exif)
    assert close(load_ok(stored).pixels, load_ok(QUARTERS).pixels)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert close(load_ok(encode(exif=exif)).pixels, load_ok(QUARTERS).pixels)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_cost_the_photo():
    load_ok(encode(exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 50))


def test_nothing_but_pixels_is_kept():
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "张三"
    result = load_ok(encode(exif=exif, comment=b"secret"))
    numpy.testing.assert_array_equal(result.pixels, load_ok(encode()).pixels)
    assert set(vars(result)) == {"status", "reasons", "image", "pixels", "quality", "content"}
    assert not result.image.info
    assert not result.image.getexif()
    assert all(type(value) is float for value in result.quality.values())


def test_large_jpeg_is_decoded_reduced_and_looks_the_same(monkeypatch):
    drawn = Image.fromarray(render_tongue(random_attributes(0), size=300, seed=0))
    exif = Image.Exif()
    exif[0x0112] = 6
    large = encode(drawn.resize((1600, 1200)), quality=92, exif=exif)
    decoded = []
    to_rgb = load._to_rgb
    monkeypatch.setattr(load, "_to_rgb", lambda photo: decoded.append(photo.size) or to_rgb(photo))
    reduced = load_ok(large, 256)
    monkeypatch.setattr(JpegImageFile, "draft", lambda *_: None)
    full = load_ok(large, 256)
    assert decoded == [(300, 400), (1200, 1600)]
    assert reduced.content == full.content == (0, 32, 256, 192)
    assert close(reduced.pixels, full.pixels, 2)
    for name, value in full.quality.items():
        assert reduced.quality[name] == pytest.approx(value, rel=0.1, abs=0.01), name


def test_limits_are_of_the_photo_as_it_was_taken(monkeypatch):
    large = encode(numpy.repeat(numpy.repeat(QUARTERS, 8, axis=0), 8, axis=1))
    monkeypatch.setattr(load, "MAX_PIXELS", 480 * 800)
    load_ok(large, 32)
    monkeypatch.setattr(load, "MAX_PIXELS", 480 * 800 - 1)  # reduced, it is far below
    assert reason_of(large, 32) == "too_large"
    monkeypatch.setattr(load, "MIN_SIDE", 480)
    monkeypatch.setattr(load, "MAX_PIXELS", 480 * 800)
    load_ok(large, 32)


def test_quality_does_not_depend_on_the_size_asked_for():
    large = encode(numpy.repeat(numpy.repeat(QUARTERS, 9, axis=0), 9, axis=1), "PNG")
    assert load_ok(large, 32).quality == load_ok(large, 224).quality


def test_palette():
    palette = Image.fromarray(QUARTERS).quantize(8)
    assert palette.mode == "P"
    assert close(load_ok(encode(palette, "PNG")).pixels, load_ok(QUARTERS).pixels)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_over_white(format):
    alpha = numpy.full((60, 100, 1), 255, dtype="uint8")
    alpha[:30, :50] = 0
    layered = encode(numpy.concatenate([QUARTERS, alpha], axis=2), format)
    pixels = load_ok(layered, 100).pixels[20:80]
    assert (pixels[:28, :48] > 245).all()
    assert close(pixels[32:], QUARTERS[32:])


def test_transparent_palette_colour_is_laid_over_white():
    palette = Image.fromarray(QUARTERS).quantize(4)
    corner = palette.getpixel((0, 0))
    pixels = load_ok(encode(palette, "PNG", transparency=corner), 100).pixels[20:80]
    assert (pixels[:28, :48] == 255).all()


def test_phone_multi_picture_jpeg_gives_its_first_picture():
    second = Image.fromarray(QUARTERS[::-1].copy())
    data = encode(format="MPO", save_all=True, append_images=[second])
    with Image.open(io.BytesIO(data)) as file:
        assert (file.format, file.n_frames) == ("MPO", 2)
    assert close(load_ok(data).pixels, load_ok(QUARTERS).pixels)


# --- what is rejected


class Text(str):
    """A str subclass is a path like any other."""


@pytest.mark.parametrize(
    "image",
    [Path("tongue.jpg"), Image.fromarray(QUARTERS), 3, 1.5, True, ["a.jpg"], {}, object(), str,
     bytearray(JPEG), memoryview(JPEG), io.BytesIO(JPEG)],
    ids=lambda image: type(image).__name__,
)  # fmt: skip
def test_other_kinds(image):
    assert reason_of(image) == "wrong_kind"
    for allowed in ("str", "bytes", "uint8 array"):
        assert allowed in explain("wrong_kind")


@pytest.mark.parametrize(
    "array",
    [
        QUARTERS.astype("float32") / 255,
        numpy.full((60, 100, 3), numpy.nan),
        QUARTERS.astype("int64"),
        QUARTERS.astype(bool),
        QUARTERS[:, :, 0],
        QUARTERS[:, :, :2],
        QUARTERS[None],
        QUARTERS.transpose(2, 0, 1),
        numpy.dstack([QUARTERS, QUARTERS[:, :, 0]]),
        numpy.array(None),
        numpy.zeros((0, 3), dtype="uint8"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_wrong_arrays(array):
    assert reason_of(array) == "wrong_array"


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 100, 3), (31, 100, 3), (1, 1, 3)])
def test_tiny_arrays(shape):
    assert reason_of(numpy.full(shape, 90, dtype="uint8")) == "too_small"


def test_tiny_file_and_extreme_shape():
    assert reason_of(encode(QUARTERS[:31])) == "too_small"
    assert reason_of(encode(numpy.repeat(QUARTERS, 3, axis=1))) == "too_narrow"
    load_ok(numpy.repeat(QUARTERS, 2, axis=1))


def test_huge_array_is_rejected_without_a_copy():
    view = numpy.broadcast_to(QUARTERS[:1, :1], (8001, 8001, 3))  # three bytes, claims 192 MB
    assert reason_of(view) == "too_large"


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html><html></html>", b"%PDF-1.7\n%\xe2\xe3", "舌淡红，苔薄白".encode(), b"\0" * 64,
     b"x", b"RIFF\x24\0\0\0WAVEfmt ", b"PK\x03\x04" + b"\0" * 60, b"<svg xmlns=''/>"],
    ids=["html", "pdf", "text", "zeros", "one byte", "wav", "zip", "svg"],
)  # fmt: skip
def test_other_files(tmp_path, content):
    assert reason_of(content) == "wrong_type"
    path = tmp_path / "tongue.jpg"
    path.write_bytes(content)
    assert reason_of(str(path)) == "wrong_type"


@pytest.mark.parametrize("format", ["GIF", "PPM", "ICO", "JPEG2000"])
def test_other_image_formats(format):
    assert reason_of(encode(format=format)) == "wrong_type"


def test_empty():
    assert reason_of(b"") == "empty_file"


def test_empty_file(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert reason_of(str(path)) == "empty_file"


@pytest.mark.parametrize(
    "path", ["", "no/such.jpg", "nul\0.jpg", "lone\udfff.jpg", "https://a.example/b.jpg", Text("x")]
)
def test_missing(path):
    assert reason_of(path) == "missing_file"


def test_path_through_a_file_and_over_long_path(tmp_path):
    (tmp_path / "a").write_bytes(JPEG)
    assert reason_of(str(tmp_path / "a" / "b.jpg")) == "missing_file"
    assert reason_of("a" * 5000) in ("missing_file", "unreadable")


def test_folder(tmp_path):
    assert reason_of(str(tmp_path)) == "not_a_file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_and_devices_do_not_hang(tmp_path, monkeypatch):
    pipe = str(tmp_path / "pipe.jpg")
    os.mkfifo(pipe)
    listening = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # socket paths are short
    listening.bind("socket.jpg")
    found = []
    paths = [pipe, "/dev/zero", "/dev/null", "/dev/stdin", "socket.jpg"]
    worker = threading.Thread(target=lambda: found.extend(map(reason_of, paths)), daemon=True)
    worker.start()
    worker.join(5)
    listening.close()
    assert found == ["not_a_file"] * len(paths)


def test_permission_denied(tmp_path, monkeypatch):
    path = tmp_path / "closed.jpg"
    path.write_bytes(JPEG)
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        pass
    else:  # the administrator may read everything: let the system call itself refuse

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    assert reason_of(str(path)) == "no_permission"


def test_disk_error(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    monkeypatch.setattr(os, "open", fail)
    assert reason_of(str(path)) == "unreadable"


@pytest.mark.parametrize("width", [8001, 20_000, 60_000, 2**31 - 1])
def test_size_bombs_are_not_decoded(width, monkeypatch):
    def fail(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert reason_of(png_claiming(width, width)) == "too_large"


def test_size_bomb_when_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason_of(png_claiming(10_000, 10_000)) == "too_large"


def test_huge_files_are_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.write(JPEG)
        file.truncate(10 * 2**30)  # sparse: takes no space
    assert reason_of(str(path)) == "too_large"


def test_many_bytes(monkeypatch):
    monkeypatch.setattr(load, "MAX_BYTES", len(JPEG) - 1)
    assert reason_of(JPEG) == "too_large"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(format, share):
    noise = numpy.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype="uint8")
    data = encode(noise, format)
    assert reason_of(data[: int(share * len(data))]) == "damaged"


def test_png_with_a_bomb_of_text():
    bomb = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 80_000_000))
    assert reason_of(PNG[:33] + bomb + PNG[33:]) == "damaged"


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format):
    assert reason_of(encode(Image.fromarray(QUARTERS).convert("CMYK"), format)) == "not_rgb"


def test_lab():
    lab = Image.new("LAB", (64, 64))
    assert reason_of(encode(lab, "TIFF")) == "not_rgb"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF"])
def test_grayscale(format):
    assert reason_of(encode(Image.fromarray(QUARTERS).convert("L"), format)) == "grayscale"


@pytest.mark.parametrize("mode", ["1", "F", "I"])
def test_other_colourless_modes(mode):
    assert reason_of(encode(Image.fromarray(QUARTERS).convert(mode), "TIFF")) == "grayscale"


def test_grayscale_kept_as_rgb():
    gray = numpy.repeat(QUARTERS[:, :, :1], 3, axis=2)
    assert reason_of(gray) == reason_of(encode(gray)) == "grayscale"


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_gray(format):
    deep = Image.fromarray(QUARTERS[:, :, 0].astype("uint16") * 257)
    assert reason_of(encode(deep, format)) == "sixteen_bit"


def test_sixteen_bit_rgb_png():
    rows = (QUARTERS.astype(">u2") * 257).reshape(60, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 100, 60, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    assert reason_of(data) == "sixteen_bit"


def test_sixteen_bit_rgb_tiff():
    tags = [(256, 3, 1, 100), (257, 3, 1, 60), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, 200), (277, 3, 1, 3), (278, 3, 1, 60), (279, 4, 1, 36000)]  # fmt: skip
    directory = struct.pack("<H", len(tags))
    for tag, kind, count, value in tags:
        directory += struct.pack("<HHII", tag, kind, count, value)
    data = b"II*\0" + struct.pack("<I", 14) + struct.pack("<HHH", 16, 16, 16)
    data = (data + directory + b"\0" * 4).ljust(200, b"\0")
    assert reason_of(data + (QUARTERS.astype("<u2") * 257).tobytes()) == "sixteen_bit"


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_several_frames(format):
    second = Image.fromarray(QUARTERS[::-1].copy())
    data = encode(format=format, save_all=True, append_images=[second])
    assert reason_of(data) == "several_frames"


def test_animated_gif():
    second = Image.fromarray(QUARTERS[::-1].copy())
    data = encode(format="GIF", save_all=True, append_images=[second])
    assert reason_of(data) == "wrong_type"


@pytest.mark.parametrize(
    ("colour", "reasons"),
    [
        ((0, 0, 0), {"too_dark", "blank", "grayscale"}),
        ((255, 255, 255), {"too_bright", "blank", "grayscale"}),
        ((180, 90, 90), {"blank"}),
    ],
)
def test_blank_photos(colour, reasons):
    result = check(load_tongue_image(numpy.full((64, 64, 3), colour, dtype="uint8"), 64), 64)
    assert set(result.reasons) == reasons
    assert result.quality


def test_every_reason_is_explained():
    sentences = [explain(reason) for reason in REASONS]
    assert len(set(sentences)) == len(REASONS)
    assert all(sentence.startswith("[E2") and sentence.endswith(".") for sentence in sentences)
    in_chinese = [explain(reason, "zh") for reason in REASONS]
    assert len(set(in_chinese)) == len(REASONS)
    assert all(sentence.endswith("。") for sentence in in_chinese)
    with pytest.raises(TCMError, match="E220"):
        explain("no such reason")


# --- properties


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_random_bytes(data):
    check(load_tongue_image(data, 32), 32)


SEEDS = [
    encode(QUARTERS[:40, 30:70].copy(), format, **options)
    for format, options in [
        ("JPEG", {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0"}),
        ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("BMP", {}), ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ]
]  # fmt: skip


MUTATIONS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=6)


@given(st.sampled_from(SEEDS), MUTATIONS, st.floats(0, 1))
@settings(max_examples=500, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_mutated_files(data, mutations, kept):
    mutated = bytearray(data)
    for place, replacement in mutations:
        start = int(place * len(mutated))
        mutated[start : start + len(replacement)] = replacement
    check(load_tongue_image(bytes(mutated[: int(len(mutated) * kept) + 1]), 32), 32)
    check(load_tongue_image(bytes(mutated), 32), 32)


@given(st.text(max_size=40) | st.integers() | st.floats() | st.none() | st.lists(st.integers()))
def test_random_values(value):
    check(load_tongue_image(value, 32), 32)


def test_threads():
    images = [JPEG, PNG, JPEG[:300], b"", QUARTERS, None] * 20
    expected = [load_tongue_image(image, 64) for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: load_tongue_image(image, 64), images))
    for one, other in zip(expected, found, strict=True):
        assert (one.status, one.reasons, one.quality) == (
            other.status,
            other.reasons,
            other.quality,
        )
        numpy.testing.assert_array_equal(one.pixels, other.pixels)


def test_global_settings_of_pillow_stay():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for image in (JPEG, JPEG[:300]):
        load_tongue_image(image, 64)
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert after == before


def test_pillow_is_imported_late():
    code = (
        "import sys, spacy_tcm.images.load, spacy_tcm.images.render; sys.exit('PIL' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- resolve_inside


@pytest.fixture
def root(tmp_path):
    inside = tmp_path / "images"
    (inside / "a").mkdir(parents=True)
    (inside / "a" / "b.jpg").write_bytes(JPEG)
    (tmp_path / "outside.jpg").write_bytes(JPEG)
    return inside


@pytest.mark.parametrize("path", ["a/b.jpg", "./a/b.jpg", "a//b.jpg", "没有.jpg", "a..b/..c.jpg"])
def test_paths_inside(root, path):
    assert resolve_inside(root, path) == (root / path).resolve()
    assert resolve_inside(str(root), path).is_relative_to(root.resolve())


@pytest.mark.parametrize(
    "path",
    ["../outside.jpg", "a/../../outside.jpg", "a/../a/b.jpg", "..", "/etc/passwd", "//host/x.jpg",
     "C:\\x.jpg", "C:/x.jpg", "C:x.jpg", "a\\b.jpg", "..\\outside.jpg", "\\\\host\\x", "", ".",
     "./", "nul\0.jpg", "lone\udc00\ud800.jpg", "x" * 5000, "d/" * 3000],
)  # fmt: skip
def test_paths_outside_or_impossible(root, path):
    with pytest.raises(RecordError, match=r"\[E22[234]\]") as caught:
        resolve_inside(root, path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("path", [None, 3, b"a/b.jpg", Path("a/b.jpg")])
def test_paths_of_other_kinds(root, path):
    with pytest.raises(RecordError, match="E221"):
        resolve_inside(root, path)


def test_links(root, tmp_path):
    (root / "file.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "folder").symlink_to(tmp_path)
    (root / "circle.jpg").symlink_to(root / "circle.jpg")
    (root / "within.jpg").symlink_to(root / "a" / "b.jpg")
    for path in ("file.jpg", "folder/outside.jpg"):
        with pytest.raises(RecordError, match="E224"):
            resolve_inside(root, path)
    assert resolve_inside(root, "within.jpg") == (root / "a" / "b.jpg").resolve()
    with contextlib.suppress(RecordError):  # refused up to Python 3.12, unreadable from 3.13
        assert reason_of(str(resolve_inside(root, "circle.jpg"))) == "unreadable"
    (tmp_path / "alias").symlink_to(root)  # the root itself may be reached through a link
    assert resolve_inside(tmp_path / "alias", "a/b.jpg") == (root / "a" / "b.jpg").resolve()


@given(st.text(max_size=30) | st.from_regex(r"([./\\]|\.\.|a){1,12}", fullmatch=True))
def test_any_text_stays_inside_or_is_refused(path):
    root = Path(__file__).parent.resolve()
    try:
        found = resolve_inside(root, path)
    except RecordError:
        return
    assert found.is_relative_to(root)
    assert found != root
