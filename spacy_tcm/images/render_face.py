"""The renderer's scene: who is seen from where, and all but the tongue itself."""

import copy
import math

import numpy

from spacy_tcm.images.render_tools import (
    Generator,
    Lab,
    Plane,
    bell,
    blend,
    enlarge,
    noise,
    plain,
    step,
)


class Scene:
    """Who is seen from where. Unit: half a picture side; x to the right, y down, -1 to 1."""

    def __init__(self, generator: Generator, size: int):
        uniform, normal = generator.uniform, generator.normal
        # close: a clinic close-up. device: a dim examination box. phone: held at arm's length.
        self.kind = str(generator.choice(["close", "device", "phone"], p=[0.6, 0.15, 0.25]))
        close = self.kind == "close"
        self.width = uniform(0.62, 0.84) if close else uniform(0.42, 0.56)
        self.length = min(2 * self.width / uniform(0.8, 1.3), 1.7)
        self.root = uniform(-0.95, -0.75) if close else uniform(-0.45, -0.15)
        self.root += 0.4 * max(0.0, 1.5 - self.length) if close else 0.0
        self.centre = uniform(-0.06, 0.06)
        self.angle, self.bend = normal(0, 0.05), normal(0, 0.05)
        self.mouth_width = self.width * uniform(1.03, 1.16)
        # How far one sees into the mouth behind the root of the tongue.
        gap = self.width * (uniform(-0.15, 0.15) if close else uniform(-0.15, 0.5))
        # The tip always lies outside the mouth.
        self.mouth_height = min(self.width * uniform(0.35, 0.8), (0.65 * self.length + gap) / 2)
        self.mouth_y = self.root - gap + self.mouth_height
        self._wobble = generator.standard_normal((2, 5, 5), dtype="float32")
        self._draw_grid(size)

    def at(self, size: int) -> "Scene":
        """The same scene in another resolution."""
        scene = copy.copy(self)
        scene._draw_grid(size)
        return scene

    def _draw_grid(self, size: int) -> None:
        self.size = size
        axis = numpy.linspace(-1, 1, size, dtype="float32")
        self.x, self.y = axis[None, :].repeat(size, 0), axis[:, None].repeat(size, 1)
        # Slow undulations, shared by all curves, so that none is regular.
        self.wobble = 0.03 * self.width * enlarge(self._wobble, size)


def mouth_of(scene: Scene) -> tuple[Plane, Plane]:
    """Distance to the rim of the mouth's opening (negative inside), and 0 at the corners of the
    mouth to 1 above and below its middle."""
    x = (scene.x + scene.wobble[0] - scene.centre) / scene.mouth_width
    y = (scene.y + scene.wobble[1] - scene.mouth_y) / scene.mouth_height
    radius = numpy.sqrt(x * x + y * y) + 1e-3
    slope = numpy.sqrt((x / scene.mouth_width) ** 2 + (y / scene.mouth_height) ** 2) / radius
    return (radius - 1) / (slope + 1e-3), numpy.abs(y) / radius


def draw_surroundings(scene: Scene, generator: Generator) -> Lab:
    """Skin, lips, mouth, teeth and what is behind the face."""
    size, uniform, normal = scene.size, generator.uniform, generator.normal
    rim, middle = mouth_of(scene)
    dx, dy = numpy.abs(scene.x - scene.centre), scene.y - scene.mouth_y
    lab = plain((normal(57, 4), normal(19, 2), normal(19, 2)), size)
    slow = noise(generator, size, size / 5)
    lab[0] += 1.5 * slow + 1.2 * noise(generator, size, size / 60)
    lab[0] -= 11 * step(dx * dx + 0.5 * dy * dy, 0.3, 1.7)
    lab[1] += 1.2 * noise(generator, size, size / 7)
    # Folds beside the mouth.
    fold = scene.mouth_width * (1.25 + 0.3 * numpy.clip(dy, 0, 1) ** 2) - dx + scene.wobble[0]
    fade = step(dy, -0.3, 0.2) * (1 - step(dy, 0.5, 1.0))
    lab[0] -= uniform(1, 8) * bell(fold, 0.07 * scene.mouth_width) * fade
    if uniform() < 0.25:  # stubble
        beard = step(noise(generator, size, size / 140), 1.2, 2.6)
        lab[0] -= uniform(5, 11) * beard * step(rim, 0.3, 0.5)
    _behind_the_face(lab, scene, generator)
    # Lips: thick in the middle, thin at the corners, creased, with a gleam along them.
    thickness = uniform(0.2, 0.34) * scene.mouth_width * (0.45 + 0.55 * middle)
    lip = 1 - step(rim / thickness, 0.75, 1.2)
    blend(lab, lip * uniform(0.75, 0.95), (normal(47, 3), normal(31, 3), normal(13, 2)))
    lab[0] += lip * 0.9 * noise(generator, size, size / 50, stretch=4)
    lab[0] += lip * (7 * bell(rim / thickness - 0.5, 0.25) - 3)
    lab[0] -= 14 * bell(rim, 0.03 * scene.mouth_width)
    # The opening: the wet insides of the cheeks at its rim, then darkness.
    hole = 1 - step(rim, -0.012, 0.012)
    blend(lab, hole, (10, 12, 6))
    cheeks = hole * step(rim, -0.12, 0.0)
    lab[0] += cheeks * (15 + 4 * slow)
    lab[1] += cheeks * 13
    if uniform() < 0.65:
        _teeth(lab, scene, generator, hole)
    return lab


def _behind_the_face(lab: Lab, scene: Scene, generator: Generator) -> None:
    uniform, size = generator.uniform, scene.size
    if scene.kind == "close":
        if uniform() < 0.4:  # the rest for the chin
            bow = scene.y + 0.45 * (1 - scene.x**2) - uniform(1.15, 1.35)
            blend(lab, step(bow, -0.01, 0.01), (uniform(15, 62), 1, 3))
            lab[0] += 25 * bell(bow - 0.02, 0.012)
        return
    down = numpy.clip((scene.y - 0.1) / uniform(0.85, 1.1), 0, 2)
    across = (scene.x + scene.wobble[0]) / uniform(0.86, 1.15)
    face = numpy.sqrt(across**2 + down**2)
    lab[0] -= 16 * step(face, 0.55, 1.0)
    outside = step(face, 0.98, 1.02)
    rough = noise(generator, size, size / 90) + 4 * noise(generator, size, size / 4)
    bow = scene.y - 0.2 * uniform(-1, 1) * scene.x**2 + scene.wobble[1]
    if scene.kind == "device":
        behind = (uniform(4, 12), 0.0, 0.0)
        cloth = (uniform(65, 80), uniform(-4, 2), uniform(3, 14))
        cover = step(bow - uniform(0.65, 0.85), -0.01, 0.01)
    else:
        behind = (uniform(25, 85), uniform(-4, 6), uniform(-6, 10))
        cloth = (uniform(15, 75), uniform(-5, 25), uniform(-25, 15))
        cover = step(bow - uniform(0.75, 0.95), -0.01, 0.01)
    blend(lab, outside, behind)
    blend(lab, cover, cloth)
    lab[0] += numpy.maximum(cover, outside if scene.kind == "phone" else 0) * rough


def _teeth(lab: Lab, scene: Scene, generator: Generator, hole: Plane) -> None:
    """The upper front teeth, as far as the lip lets them be seen."""
    pitch = scene.mouth_width * generator.uniform(0.2, 0.26)
    x = (scene.x - scene.centre + scene.wobble[0]) / pitch
    edge = scene.mouth_y - scene.mouth_height * (generator.uniform(0.35, 0.6) + 0.05 * x * x)
    edge += 0.04 * pitch * numpy.cos(math.pi * numpy.floor(x))
    middle = numpy.abs(x - numpy.floor(x) - 0.5)
    tooth = hole * (1 - step(scene.y - edge + 0.8 * pitch * middle**4, -0.012, 0.012))
    tooth *= (1 - step(numpy.abs(x), 3.0, 3.6)) * (1 - 0.7 * step(middle, 0.44, 0.5))
    blend(lab, tooth * 0.95, (generator.uniform(64, 76), 2, generator.uniform(8, 16)))
    lab[0] -= tooth * 1.5 * x * x
