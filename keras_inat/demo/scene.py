"""Where a subject stands: background, clutter in front and behind, light, shadow and paper.

Nothing here knows what the subject is. Scene, scheme, pose and light are drawn from the same distributions
for every class, so that only the shape of the subject tells its class.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from keras_inat.demo.clutter import FRONT, SCENES, Clutter, Scene, hide
from keras_inat.demo.pen import SCHEMES, Pen, Scheme, darken, mix

OVERSAMPLING = 2  # the subject is drawn this much larger and reduced, for smooth edges
TILE = 384

# What makes photographs of animals hard, and how often it happens here.
FAR = 0.08
ASTRAY = 0.1
CAMOUFLAGED = 0.1
HIDDEN = 0.14
BACKLIT = 0.07
BLURRED = 0.08

Drawing = Callable[[Pen, Scheme, np.random.Generator], None]


@cache
def _noise() -> np.ndarray:
    """Cloud-like noise, float32 `(TILE, TILE)`, zero mean, unit deviation, the same in every process."""
    rng = np.random.default_rng(12)
    total = np.zeros((TILE, TILE), np.float32)
    for cells, weight in ((6, 1.0), (14, 0.7), (40, 0.4), (110, 0.25)):
        layer = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        total += weight * np.asarray(layer.resize((TILE, TILE), Image.Resampling.BICUBIC))
    return (total - total.mean()) / total.std()


@cache
def _grain() -> np.ndarray:
    """Paper grain, float32 of shape `(TILE, TILE, 1)`, in grey levels."""
    fine = np.random.default_rng(13).standard_normal((TILE, TILE)).astype(np.float32)
    soft = fine + np.roll(fine, 1, 0) + np.roll(fine, 1, 1) + np.roll(fine, (1, 1), (0, 1))
    return (1.3 * fine + 1.5 * soft)[..., None]


def _crop(
    tile: np.ndarray, height: int, width: int, rng: np.random.Generator, step: tuple[int, int] = (1, 1)
) -> np.ndarray:
    """A random window of a tile, mirrored where it ends; a larger step makes the pattern finer there."""
    y, x = (int(rng.integers(TILE)) + np.arange(n) * s for n, s in zip((height, width), step, strict=True))
    rows, columns = (TILE - 1 - np.abs(TILE - 1 - i % (2 * TILE - 2)) for i in (y, x))
    return tile[np.ix_(rows, columns)]


def _layer(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGBA", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))


def _clutter(
    kinds: list[Clutter], scene: Scene, size: tuple[int, int], blur: float, rng: np.random.Generator
) -> Image.Image:
    """A transparent layer with these kinds of clutter, blurred by `blur` pixels."""
    width, height = size
    unit = min(size)
    image = _layer(size)
    pen = Pen(image, np.eye(2) * unit * OVERSAMPLING, (0, 0), ink=1.2)
    for kind in kinds:
        kind(pen, scene, width / unit, height / unit, rng)
    image = image.reduce(OVERSAMPLING)
    if blur < 0.4:
        return image
    # Premultiplied, lest the black of the empty pixels bleed into the edges.
    return image.convert("RGBa").filter(ImageFilter.BoxBlur(1.5 * blur)).convert("RGBA")


def _pose(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float]]:
    """The map from the unit frame, `(2, 2)`, and the subject's place, in pixels of the enlarged layer."""
    far, astray = rng.random(2) < (FAR, ASTRAY)
    scale = min(size) * OVERSAMPLING * (rng.uniform(0.16, 0.26) if far else rng.uniform(0.28, 0.48))
    angle = math.radians(float(np.clip(rng.normal(0, 17), -60, 60)))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shape = np.array([[rng.uniform(0.85, 1.1), rng.uniform(-0.2, 0.2)], [0.0, rng.uniform(0.85, 1.1)]])
    mirror = np.diag([rng.choice((-1.0, 1.0)), 1.0])
    reach = 0.36 if astray else 0.1
    x, y = (side * OVERSAMPLING * (0.5 + rng.uniform(-reach, reach)) for side in size)
    return scale * turn @ shape @ mirror, (x, y)


def _scheme(scene: Scene, rng: np.random.Generator) -> Scheme:
    """A random scheme, slightly varied, that stands out from the scene or, camouflaged, does not."""
    ground = np.array(mix(scene.top, scene.bottom, 0.5))
    camouflaged = rng.random() < CAMOUFLAGED
    for i in rng.permutation(len(SCHEMES)):
        scheme = SCHEMES[i]
        if (np.abs(np.array(scheme.main) - ground).sum() > 110) != camouflaged:
            break
    tint, amount = (rng.choice((0, 255), 3).tolist(), rng.uniform(0, 0.12))
    return Scheme(*(mix(c, (tint[0], tint[1], tint[2]), amount) for c in (scheme.main, scheme.second, scheme.accent)))


def _ground(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """The scene's gradient, unevenly mixed and washed over with noise."""
    width, height = size
    strength, step_x, step_y = scene.texture
    ramp = np.linspace(0, 1, height)[:, None] + 0.1 * _crop(_noise(), height, width, rng)
    wash = strength * _crop(_noise(), height, width, rng, (step_y, step_x))
    top, bottom = np.array(scene.top), np.array(scene.bottom)
    colours = top + (bottom - top) * np.clip(ramp, 0, 1)[..., None] + wash[..., None]
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def _place(picture: Image.Image, subject: Image.Image, scene: Scene, light: tuple[float, float]) -> None:
    """Pastes the subject and, before, its shadow, cast away from the light."""
    reach = 0.05 * min(picture.size)
    shadow = Image.new("L", picture.size)
    shadow.paste(subject.getchannel("A"), (round(-light[0] * reach), round(-light[1] * reach)))
    shadow = shadow.filter(ImageFilter.BoxBlur(0.5 * reach)).point([round(0.4 * v) for v in range(256)])
    picture.paste(darken(scene.bottom, 0.75), mask=shadow)
    picture.paste(subject, mask=subject)


def _lit(picture: Image.Image, light: tuple[float, float], rng: np.random.Generator) -> Image.Image:
    """Lets the light fall off across the picture and towards its corners, tints it, and adds grain."""
    y = np.linspace(-1, 1, picture.height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, picture.width, dtype=np.float32)[None, :]
    fall = rng.uniform(0.98, 1.14) + rng.uniform(0.02, 0.14) * (light[0] * x + light[1] * y)
    fall = fall - rng.uniform(0.0, 0.08) * (x * x + y * y)
    warmth = 1 + rng.uniform(-0.05, 0.06) * np.array([1, 0, -1], np.float32)
    values = np.asarray(picture, np.float32) * (fall[..., None] * warmth)
    values += _crop(_grain(), picture.height, picture.width, rng)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def paint(drawing: Drawing, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Places a drawing in a random scene.

    Args:
        drawing: draws the subject.
        rng: decides everything else.
        size: width and height in pixels.

    Returns:
        An RGB image of that size.
    """
    scene = SCENES[int(rng.integers(len(SCENES)))]
    kinds = [scene.clutter[i] for i in rng.permutation(len(scene.clutter))]
    side = rng.uniform(-0.9, 0.9)
    light = (side, -math.sqrt(1 - side * side))

    picture = _ground(scene, size, rng)
    behind = _clutter(kinds[: int(rng.integers(1, 4))], scene, size, rng.uniform(0, 1.8), rng)
    picture.paste(behind, mask=behind)

    large = _layer(size)
    matrix, origin = _pose(size, rng)
    drawing(Pen(large, matrix, origin, light, ink=0.011 * min(size) * OVERSAMPLING), _scheme(scene, rng), rng)
    subject = large.resize(size, Image.Resampling.HAMMING)
    if rng.random() < BACKLIT:
        shade = Image.new("RGB", size, darken(scene.bottom, 0.85))
        shade.putalpha(subject.getchannel("A").point([round(0.7 * v) for v in range(256)]))
        subject.alpha_composite(shade)
    _place(picture, subject, scene, light)

    in_front = [kind for kind in kinds if kind in FRONT][: int(rng.random() < 0.6)]
    in_front += [hide] * int(rng.random() < HIDDEN)
    if in_front:
        front = _clutter(in_front, scene, size, rng.uniform(0.3, 1.6), rng)
        picture.paste(front, mask=front)
    if rng.random() < BLURRED:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.007, 0.015) * min(size)))
    return _lit(picture, light, rng)
