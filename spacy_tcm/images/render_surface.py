"""The renderer's tongue: its outline, its surface and what the attributes add to them."""

import itertools
import math
from collections.abc import Mapping

import numpy
from numpy.typing import NDArray

from spacy_tcm.images.render_face import Scene, mouth_of
from spacy_tcm.images.render_tools import (
    Generator,
    Lab,
    Plane,
    bell,
    blend,
    noise,
    plain,
    soften,
    step,
)

# CIE L, a, b of the bare tongue's sides.
_BODY = {
    "light": [(67, 20, 9)],
    "regular": [(60, 29, 9)],
    "dark": [(52, 40, 13), (49, 37, 10), (50, 31, 4)],  # crimson, dark red, purple
}
_COATING = {
    "white": (77, 15, 5),
    "light_yellow": (75, 15, 14),
    "yellow": (70, 14, 29),
    "gray_black": (41, 6, 7),
}
_COVER = {"none": 0.0, "thin": 0.42, "thick": 0.88}


class Outline:
    """The tongue's own coordinates.

    across: -1 to 1 from edge to edge; along: 0 (root) to 1 (tip); rho: 0 on the middle line of the
    root, 1 at the edge; notches: 0 to 1, deepest between two teeth; inside: share of each pixel
    that the visible tongue covers.
    """

    def __init__(self, scene: Scene, generator: Generator, tooth_marks: str):
        cos, sin = math.cos(scene.angle), math.sin(scene.angle)
        x = scene.x - scene.centre + scene.wobble[0]
        y = scene.y - scene.root + scene.wobble[1]
        along = (y * cos - x * sin) / scene.length
        x = x * cos + y * sin + scene.bend * along * along
        bluntness, fullness = generator.uniform(2.0, 3.4), generator.uniform(2.1, 2.8)
        narrow = generator.uniform(0.8, 0.97)
        self.notches = _notches(generator)[(x > 0).astype("uint8"), _index(along)]
        depth = {"none": 0.0, "light": 0.03, "severe": 0.06}[tooth_marks]
        width = scene.width * (narrow + (1 - narrow) * step(along, 0.0, 0.5))
        width *= 1 - depth * self.notches
        self.along, self.across = along, x / width
        backward = numpy.clip(0.4 - along * 5, 0, 9)
        self.rho = numpy.abs(self.across) ** fullness + backward * backward
        self.rho += numpy.clip(along, 0, 2) ** bluntness
        # Roughly the pixels between here and the edge.
        edge = (1 - self.rho) * (scene.width * scene.size / 2 / fullness)
        # Above the opening of the mouth the upper lip hides the tongue.
        rim = mouth_of(scene)[0] * scene.size / 2
        hidden = step(rim, -1.0, 1.0) * (scene.y < scene.mouth_y)
        self.inside = step(edge, -1.2, 1.4) * (1 - hidden)


def _notches(generator: Generator) -> Plane:
    """What the teeth press into each side: (2 sides, 256 places along the tongue), 0 to 1."""
    along = numpy.linspace(0, 1, 256, dtype="float32")
    profile = numpy.zeros((2, 256), dtype="float32")
    for side in profile:
        place = generator.uniform(0.2, 0.32)
        while place < 0.84:
            pitch = generator.uniform(0.09, 0.16)
            dent = numpy.exp(-(((along - place) / (0.3 * pitch)) ** 2))
            side += generator.uniform(0.45, 1.0) * dent
            place += pitch
    return profile


def _index(along: Plane) -> NDArray[numpy.uint8]:
    return numpy.clip(along * 255, 0, 255).astype("uint8")


def draw_tongue(
    scene: Scene, generator: Generator, shape: Outline, attributes: Mapping[str, str]
) -> Lab:
    """The surface of the tongue, drawn over the whole picture."""
    size, uniform, normal = scene.size, generator.uniform, generator.normal
    # Findings draw from streams of their own, so that they change nothing else in the picture.
    for_fissures, for_spots = generator.spawn(2)
    across, along = shape.across, shape.along
    depth = numpy.clip(shape.rho, 0, 1)
    scale = scene.width * size / 2  # pixels per half width
    fine = noise(generator, size, max(1.0, scale / 60))
    medium = noise(generator, size, scale / 26)
    coarse = noise(generator, size, scale / 6)
    slow = noise(generator, size, scale / 2)
    bodies = _BODY[attributes["body_color"]]
    lightness, a, b = bodies[generator.integers(3) % len(bodies)]
    lab = plain((lightness + normal(0, 1.5), a + normal(0, 1.2), b + normal(0, 1)), size)
    # Light falls on the dome; towards tip and edges it turns away and the flesh is redder.
    edge = depth * depth
    lab[0] += (
        8
        - 15 * edge
        - 6 * step(depth, 0.75, 1.0)
        + 1.8 * slow
        + 1.3 * coarse
        + uniform(-4, 4) * across
    )
    lab[1] += 8 * edge - 2.5 + 1.2 * coarse
    tip = step(along, 0.65, 1.05)
    lab[0] -= 7 * tip
    lab[1] += 6 * tip
    groove = bell(across + 0.04 * slow, uniform(0.03, 0.08)) * step(along, 0.1, 0.35)
    lab[0] -= uniform(1, 9) * groove * (1 - step(along, 0.6, 0.95))
    _draw_coating(lab, shape, attributes, (fine, medium, coarse, slow))
    # Papillae show as red grains near the tip and the edges of everyone's tongue.
    grains = step(noise(generator, size, scale / 26), 1.3, 2.6)
    lab[1] += 5 * grains * step(depth, 0.25, 0.7)
    _draw_notches(lab, shape, attributes["tooth_marks"])
    _draw_fissures(lab, scene, for_fissures, attributes["fissure"])
    _draw_spots(lab, scene, for_spots, attributes["spots"])
    # Saliva: a sheen, and specks of glare, where the dome faces the lamp.
    facing = (across - uniform(-0.3, 0.3)) ** 2 / 0.3 + (along - uniform(0.5, 0.8)) ** 2 / 0.05
    facing = numpy.exp(-facing)
    lab[0] += facing * (5 + 1.6 * fine + 1.5 * medium)
    streaks = noise(generator, size, scale / 24, stretch=2.2)
    wet = 0.8 * streaks + 0.6 * coarse + 0.4 * fine + 2.2 * facing
    gleam = step(wet, uniform(2.4, 3.4), 4.6) * step(facing, 0.02, 0.5)
    blend(lab, 0.9 * gleam, (98, 4, 2))
    # The root lies in the shadow of the palate and the lip.
    lab[0] *= 0.45 + 0.55 * step(along, -0.12, 0.24)
    return lab


def _draw_coating(
    lab: Lab, shape: Outline, attributes: Mapping[str, str], noises: tuple[Plane, ...]
) -> None:
    """Coating lies on the middle and the root, thins out over the papillae and ends softly."""
    fine, medium, coarse, slow = noises
    thickness = attributes["coating_thickness"]
    grain = {"none": 1.3, "thin": 1.8, "thick": 1.6}[thickness]
    lab[0] += grain * (fine + 0.6 * medium)
    if thickness == "none":
        return
    place = 1.1 - 1.15 * shape.across**2 - 0.9 * numpy.clip(shape.along - 0.35, 0, 1) ** 1.5
    place += 0.12 * slow + 0.07 * coarse + (0.04 if thickness == "thick" else 0.07) * medium
    density = _COVER[thickness] * step(place, 0.15, 1.0)
    density *= 1 + (0.03 if thickness == "thick" else 0.07) * fine
    for plane, value in zip(lab, _COATING[attributes["coating_color"]], strict=True):
        plane += density * (value - plane)
    lab[0] += density * (3 + 1.5 * fine + 1.5 * medium)
    lab[2] += density * 1.5 * slow


def _draw_notches(lab: Lab, shape: Outline, degree: str) -> None:
    """The press of each tooth is seen inside the edge, too: a dark dent between pale swellings."""
    strength = {"none": 0.0, "light": 0.6, "severe": 1.0}[degree]
    near = strength * step(numpy.abs(shape.across), 0.68, 1.0)
    lab[0] += near * (3 - 12 * shape.notches)
    lab[1] += near * (6 * shape.notches - 2)


def _draw_fissures(lab: Lab, scene: Scene, generator: Generator, degree: str) -> None:
    """Cracks as dark lines with pale banks: one or a few if light, a branching map if severe."""
    from PIL import Image, ImageDraw

    if degree == "none":
        return
    scale = scene.width * scene.size / 2
    canvas = Image.new("L", (scene.size, scene.size))
    draw = ImageDraw.Draw(canvas)

    def crack(across: float, along: float, heading: float, reach: float, width: float) -> None:
        """A wandering, tapering line; lengths in half widths of the tongue, heading 0 forwards."""
        steps = max(4, int(reach * 18))
        points = [_to_pixels(scene, across, along)]
        for _ in range(steps):
            heading += generator.normal(0, 0.3)
            step = generator.uniform(0.6, 1.4) * reach / steps
            across += step * math.sin(heading)
            along += step * math.cos(heading) * scene.width / scene.length
            points.append(_to_pixels(scene, across, along))
        for k, ends in enumerate(itertools.pairwise(points)):
            taper = 1 - 0.7 * abs(2 * k / steps - 0.8)
            draw.line(ends, 255, max(1, round(width * taper * scale)))

    if degree == "light":
        branches, reach = generator.integers(1, 4), generator.uniform(0.5, 0.9)
        crack(generator.normal(0, 0.03), generator.uniform(0.2, 0.35), 0, reach, 0.032)
    else:
        branches = generator.integers(13, 20)
        crack(generator.normal(0, 0.03), 0.18, 0, generator.uniform(0.9, 1.2), 0.045)
    for k in range(branches):
        side = -1 if k % 2 else 1
        start = side * generator.uniform(0.02, 0.42)
        heading = side * generator.uniform(0.5, 2.2)
        width, reach = generator.uniform(0.014, 0.03), generator.uniform(0.12, 0.36)
        crack(start, generator.uniform(0.2, 0.75), heading, reach, width)
    line, bank = soften(canvas, 0.008 * scale), soften(canvas, 0.035 * scale)
    lab[0] += 5 * bank - (27 if degree == "light" else 32) * line
    lab[1] += 7 * line


def _draw_spots(lab: Lab, scene: Scene, generator: Generator, presence: str) -> None:
    """Red prickles towards the tip and edges, or dusky patches of stasis."""
    from PIL import Image, ImageDraw

    if presence == "none":
        return
    canvas = Image.new("L", (scene.size, scene.size))
    draw = ImageDraw.Draw(canvas)
    uniform = generator.uniform
    scale = scene.width * scene.size / 2
    prickles = uniform() < 0.6
    for _ in range(generator.integers(60, 110) if prickles else generator.integers(8, 16)):
        if prickles:
            turn, out = uniform(-1.7, 1.7), uniform(0.5, 0.93)
            x, y = _to_pixels(scene, 0.9 * out * math.sin(turn), 0.38 + 0.58 * out * math.cos(turn))
            radius = uniform(0.011, 0.02) * scale
        else:
            across = float(generator.choice([-1, 1])) * uniform(0.35, 0.8)
            x, y = _to_pixels(scene, across, uniform(0.3, 0.8) - 0.4 * max(0, abs(across) - 0.55))
            radius = uniform(0.02, 0.05) * scale
        wide, high = max(0.8, radius * uniform(0.7, 1.3)), max(0.8, radius)
        draw.ellipse((x - wide, y - high, x + wide, y + high), 255)
    mask = soften(canvas, (0.009 if prickles else 0.02) * scale)
    for plane, change in zip(lab, (-10, 16, 5) if prickles else (-19, -2, -9), strict=True):
        plane += change * mask


def _to_pixels(scene: Scene, across: float, along: float) -> tuple[float, float]:
    """Picture coordinates of a point on the tongue (irregularities of its edge left aside)."""
    x, y = across * scene.width - scene.bend * along * along, along * scene.length
    cos, sin = math.cos(scene.angle), math.sin(scene.angle)
    right, down = x * cos - y * sin + scene.centre, x * sin + y * cos + scene.root
    return (right + 1) * scene.size / 2, (down + 1) * scene.size / 2
