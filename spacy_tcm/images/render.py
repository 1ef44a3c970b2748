"""Draw plausible tongue photos from attributes, for examples and tests. They are not photographs.

No patient's photo can ship with the package, so examples use pictures drawn here, and every file
says so in its JPEG comment. The colours follow statistics of real close-ups (CIE Lab means and
spreads of centre, edges, tip and surroundings); the attributes are drawn a little more clearly
than life. A network trained on these alone knows nothing of real tongues.
"""

import json
import os
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy
from numpy.typing import NDArray

from spacy_tcm.errors import Errors, TCMError
from spacy_tcm.images.render_face import Scene, draw_surroundings
from spacy_tcm.images.render_surface import Outline, draw_tongue
from spacy_tcm.images.render_tools import Generator, Lab, enlarge, noise, rgb_from_lab
from spacy_tcm.tags import TONGUE_ATTRIBUTES

RENDERED = "rendered by spacy_tcm, not a photograph"

# The values of a record's meta.tongue, in the renderer's terms.
_FROM_RECORD = {
    "body_color": (
        "舌色",
        {
            "淡白": "light", "淡红": "regular", "红": "dark", "绛": "dark", "暗红": "dark",
            "淡紫": "dark", "青紫": "dark",
        },
    ),
    "coating_color": (
        "苔色",
        {"白": "white", "淡黄": "light_yellow", "黄": "yellow", "灰": "gray_black",
         "黑": "gray_black"},
    ),
    "coating_thickness": (
        "苔质", {"少": "none", "无": "none", "剥": "none", "薄": "thin", "厚": "thick"},
    ),
}  # fmt: skip
_FINDINGS = {
    "fissure": {"裂纹"},
    "tooth_marks": {"齿痕"},
    "spots": {"点刺", "瘀点", "瘀斑"},
}


def attributes_from_meta(meta_tongue: Mapping[str, Any], seed: int = 0) -> dict[str, str]:
    """What to draw for a written record.

    meta_tongue: the record's `meta.tongue`, e.g. {"舌色": ["淡红"], "苔质": ["薄"]}. Of several
        values of one kind the first known counts.
    seed: decides what the record leaves open: colours, thickness, degree of a finding. Findings
        that are not mentioned are not drawn.
    RETURNS: all attributes; without coating_color if there is no coating to see.
    """
    generator = numpy.random.default_rng(seed)
    attributes = {}
    for name, (source, values) in _FROM_RECORD.items():
        known = [values[value] for value in meta_tongue.get(source) or () if value in values]
        free = [value for value in TONGUE_ATTRIBUTES[name] if value != "none"]
        drawn = str(generator.choice(free))
        attributes[name] = known[0] if known else drawn
    for name, signs in _FINDINGS.items():
        degree = str(generator.choice(TONGUE_ATTRIBUTES[name][1:]))
        attributes[name] = degree if signs & set(meta_tongue.get("舌形") or ()) else "none"
    return _without_invisible(attributes)


def random_attributes(seed: int) -> dict[str, str]:
    """Every attribute drawn evenly; without coating_color if there is no coating to see."""
    generator = numpy.random.default_rng(seed)
    return _without_invisible(
        {name: str(generator.choice(values)) for name, values in TONGUE_ATTRIBUTES.items()}
    )


def save_rendered(
    pixels: NDArray[numpy.uint8], path: str | os.PathLike[str], attributes: Mapping[str, str]
) -> None:
    """Write a rendered picture as JPEG whose comment says that it is rendered, and what it shows.

    pixels: uint8 (height, width, 3) RGB.
    """
    from PIL import Image

    comment = f"{RENDERED} {json.dumps(dict(attributes), sort_keys=True)}"
    Image.fromarray(pixels).save(path, "JPEG", quality=88, comment=comment.encode("ascii"))


def render_tongue(
    attributes: Mapping[str, str], *, size: int = 352, seed: int
) -> NDArray[numpy.uint8]:
    """Draw a tongue photo.

    attributes: one value for each of `spacy_tcm.tags.TONGUE_ATTRIBUTES`; coating_color is left out
        if and only if coating_thickness is "none". Raises TCMError otherwise.
    size: side of the square picture in pixels.
    seed: person, pose, surroundings, light and camera, all independent of the attributes: one seed
        with two attribute sets shows one person twice. Same arguments, same pixels (for one
        version of NumPy and Pillow).
    RETURNS: uint8 (size, size, 3) RGB.
    """
    _check(attributes)
    streams = [
        numpy.random.default_rng(child) for child in numpy.random.SeedSequence(seed).spawn(6)
    ]
    scene = Scene(streams[0], size)
    # The face is a little out of focus anyway: drawing it at half size saves much time.
    lab = enlarge(draw_surroundings(scene.at(max(8, size // 2)), streams[1]), size)
    lab[0] += 0.8 * noise(streams[2], size, size / 170)
    shape = Outline(scene, streams[3], attributes["tooth_marks"])
    _compose(lab, draw_tongue(scene, streams[4], shape, attributes), scene, shape)
    return _photograph(lab, scene, streams[5])


def _without_invisible(attributes: dict[str, str]) -> dict[str, str]:
    if attributes["coating_thickness"] == "none":
        del attributes["coating_color"]
    return attributes


def _check(attributes: Mapping[str, str]) -> None:
    expected = set(TONGUE_ATTRIBUTES)
    if attributes.get("coating_thickness") == "none":
        expected.remove("coating_color")
    if set(attributes) != expected:
        raise TCMError(Errors.E231.format(found=sorted(attributes), expected=sorted(expected)))
    for name, value in attributes.items():
        if value not in TONGUE_ATTRIBUTES[name]:
            allowed = ", ".join(TONGUE_ATTRIBUTES[name])
            raise TCMError(Errors.E232.format(name=name, value=value, allowed=allowed))


def _compose(lab: Lab, tongue: Lab, scene: Scene, shape: Outline) -> None:
    """Lay the tongue over its surroundings, with its shadow."""
    from PIL import Image

    size, drop = scene.size, max(1, scene.size // 40)
    few = max(4, size // max(4, size // 22))
    small = Image.fromarray(shape.inside).resize((few, few), Image.Resampling.BOX)
    shadow = numpy.roll(enlarge(numpy.asarray(small)[None], size)[0], drop, axis=0)
    shadow[:drop] = 0
    lab[0] *= 1 - 0.6 * shadow
    lab += shape.inside * (tongue - lab)


def _photograph(lab: Lab, scene: Scene, generator: Generator) -> NDArray[numpy.uint8]:
    """Light, lens, sensor and JPEG."""
    from PIL import Image, ImageFilter

    size, uniform, normal = scene.size, generator.uniform, generator.normal
    dim = {"close": 1.0, "device": 0.78, "phone": 0.95}[scene.kind]
    pale = {"close": 1.0, "device": 0.75, "phone": 0.9}[scene.kind]
    lab[0] *= dim * uniform(0.95, 1.05)
    lab[0] += uniform(-3, 3) * scene.x + uniform(-3, 1) * scene.y
    lab[1:] *= pale * uniform(0.93, 1.07)
    lab[1] += normal(0, 0.8)
    lab[2] += normal(0, 1.2)
    lab[0] += uniform(0.2, 1.2) * generator.standard_normal((size, size), dtype="float32")
    photo = Image.fromarray(rgb_from_lab(lab))
    photo = photo.filter(ImageFilter.BoxBlur(uniform(0, 0.5) * size / 352))
    buffer = BytesIO()
    photo.save(buffer, "JPEG", quality=int(uniform(60, 92)))
    with Image.open(buffer) as file:
        return numpy.array(file)
