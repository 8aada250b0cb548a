"""Composition of an image: a subject in a random scene, with clutter, light, shadow and grain.

Scene, scheme, pose and light have the same distributions for every class, so that only the shape of the subject reveals
its class.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from keras_inat.demo.palette import SCHEMES, Scheme, darken, mix
from keras_inat.demo.pen import Pen
from keras_inat.demo.scenes import FRONT, SCENES, Clutter, Scene, large_leaves

# The subject is drawn this many times larger and then reduced, which smooths its edges.
OVERSAMPLING = 2
# The side of the tiles of noise and grain, in pixels.
TILE = 384

# Probabilities of the difficulties that photographs of animals have.
FAR = 0.08
OFF_CENTER = 0.1
CAMOUFLAGED = 0.1
HIDDEN = 0.14
BACKLIT = 0.07
BLURRED = 0.08

Drawing = Callable[[Pen, Scheme, np.random.Generator], None]


@cache
def _build_noise() -> np.ndarray:
    """Returns cloud-like noise, float32 `(TILE, TILE)`, of mean 0 and standard deviation 1."""
    rng = np.random.default_rng(12)
    total = np.zeros((TILE, TILE), np.float32)
    for cells, weight in ((6, 1.0), (14, 0.7), (40, 0.4), (110, 0.25)):
        layer = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        total += weight * np.asarray(layer.resize((TILE, TILE), Image.Resampling.BICUBIC))
    return (total - total.mean()) / total.std()


@cache
def _build_grain() -> np.ndarray:
    """Returns paper grain in gray levels, float32 `(TILE, TILE, 1)`."""
    fine = np.random.default_rng(13).standard_normal((TILE, TILE)).astype(np.float32)
    soft = fine + np.roll(fine, 1, 0) + np.roll(fine, 1, 1) + np.roll(fine, (1, 1), (0, 1))
    return (1.3 * fine + 1.5 * soft)[..., None]


def _crop_tile(
    tile: np.ndarray, height: int, width: int, rng: np.random.Generator, step: tuple[int, int] = (1, 1)
) -> np.ndarray:
    """Returns a random window of a tile, mirrored at its edges. A larger step makes the pattern finer."""
    y = int(rng.integers(TILE)) + np.arange(height) * step[0]
    x = int(rng.integers(TILE)) + np.arange(width) * step[1]
    rows, columns = (TILE - 1 - np.abs(TILE - 1 - i % (2 * TILE - 2)) for i in (y, x))
    return tile[np.ix_(rows, columns)]


def _create_layer(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGBA", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))


def _draw_clutter(
    kinds: list[Clutter], scene: Scene, size: tuple[int, int], blur: float, rng: np.random.Generator
) -> Image.Image:
    """Returns a transparent layer with these kinds of clutter, blurred by `blur` pixels."""
    width, height = size
    unit = min(size)
    image = _create_layer(size)
    pen = Pen(image, np.eye(2) * unit * OVERSAMPLING, (0, 0), ink=1.2)
    for kind in kinds:
        kind(pen, scene, width / unit, height / unit, rng)
    image = image.reduce(OVERSAMPLING)
    if blur < 0.4:
        return image
    # Premultiplied alpha keeps the black of the empty pixels out of the edges.
    return image.convert("RGBa").filter(ImageFilter.BoxBlur(1.5 * blur)).convert("RGBA")


def _choose_pose(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float]]:
    """Returns the map from the unit frame `(2, 2)` and the place of the subject, in pixels of the enlarged layer."""
    far, off_center = rng.random(2) < (FAR, OFF_CENTER)
    scale = min(size) * OVERSAMPLING * (rng.uniform(0.16, 0.26) if far else rng.uniform(0.28, 0.48))
    angle = math.radians(float(np.clip(rng.normal(0, 17), -60, 60)))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shape = np.array([[rng.uniform(0.85, 1.1), rng.uniform(-0.2, 0.2)], [0.0, rng.uniform(0.85, 1.1)]])
    mirror = np.diag([rng.choice((-1.0, 1.0)), 1.0])
    reach = 0.36 if off_center else 0.1
    x, y = (side * OVERSAMPLING * (0.5 + rng.uniform(-reach, reach)) for side in size)
    return scale * turn @ shape @ mirror, (x, y)


def _choose_scheme(scene: Scene, rng: np.random.Generator) -> Scheme:
    """Returns a random scheme, slightly varied. A camouflaged subject has the color of the scene."""
    ground = np.array(mix(scene.top, scene.bottom, 0.5))
    camouflaged = rng.random() < CAMOUFLAGED
    for i in rng.permutation(len(SCHEMES)):
        scheme = SCHEMES[i]
        if (np.abs(np.array(scheme.main) - ground).sum() > 110) != camouflaged:
            break
    red, green, blue = rng.choice((0, 255), 3).tolist()
    amount = rng.uniform(0, 0.12)
    return Scheme(*(mix(c, (red, green, blue), amount) for c in (scheme.main, scheme.second, scheme.accent)))


def _draw_background(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Returns the gradient of the scene with noise."""
    width, height = size
    strength, step_x, step_y = scene.texture
    ramp = np.linspace(0, 1, height)[:, None] + 0.1 * _crop_tile(_build_noise(), height, width, rng)
    wash = strength * _crop_tile(_build_noise(), height, width, rng, (step_y, step_x))
    top = np.array(scene.top)
    bottom = np.array(scene.bottom)
    colors = top + (bottom - top) * np.clip(ramp, 0, 1)[..., None] + wash[..., None]
    return Image.fromarray(np.clip(colors, 0, 255).astype(np.uint8))


def _paste_subject(picture: Image.Image, subject: Image.Image, scene: Scene, light: tuple[float, float]) -> None:
    """Pastes the shadow of the subject, away from the light, and then the subject."""
    reach = 0.05 * min(picture.size)
    shadow = Image.new("L", picture.size)
    shadow.paste(subject.getchannel("A"), (round(-light[0] * reach), round(-light[1] * reach)))
    shadow = shadow.filter(ImageFilter.BoxBlur(0.5 * reach)).point([round(0.4 * v) for v in range(256)])
    picture.paste(darken(scene.bottom, 0.75), mask=shadow)
    picture.paste(subject, mask=subject)


def _apply_light(picture: Image.Image, light: tuple[float, float], rng: np.random.Generator) -> Image.Image:
    """Returns the picture with uneven light, a tint and grain."""
    y = np.linspace(-1, 1, picture.height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, picture.width, dtype=np.float32)[None, :]
    fall = rng.uniform(0.98, 1.14) + rng.uniform(0.02, 0.14) * (light[0] * x + light[1] * y)
    fall = fall - rng.uniform(0.0, 0.08) * (x * x + y * y)
    warmth = 1 + rng.uniform(-0.05, 0.06) * np.array([1, 0, -1], np.float32)
    values = np.asarray(picture, np.float32) * (fall[..., None] * warmth)
    values += _crop_tile(_build_grain(), picture.height, picture.width, rng)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def compose_image(drawing: Drawing, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Places a drawing in a random scene.

    Args:
        drawing: The function that draws the subject.
        rng: The source of all random choices.
        size: Width and height in pixels.

    Returns:
        An RGB image of that size.
    """
    scene = SCENES[int(rng.integers(len(SCENES)))]
    kinds = [scene.clutter[i] for i in rng.permutation(len(scene.clutter))]
    side = rng.uniform(-0.9, 0.9)
    light = (side, -math.sqrt(1 - side * side))

    picture = _draw_background(scene, size, rng)
    behind = _draw_clutter(kinds[: int(rng.integers(1, 4))], scene, size, rng.uniform(0, 1.8), rng)
    picture.paste(behind, mask=behind)

    large = _create_layer(size)
    matrix, origin = _choose_pose(size, rng)
    drawing(Pen(large, matrix, origin, light, ink=0.011 * min(size) * OVERSAMPLING), _choose_scheme(scene, rng), rng)
    subject = large.resize(size, Image.Resampling.HAMMING)
    if rng.random() < BACKLIT:
        shade = Image.new("RGB", size, darken(scene.bottom, 0.85))
        shade.putalpha(subject.getchannel("A").point([round(0.7 * v) for v in range(256)]))
        subject.alpha_composite(shade)
    _paste_subject(picture, subject, scene, light)

    in_front = [kind for kind in kinds if kind in FRONT][: int(rng.random() < 0.6)]
    in_front += [large_leaves] * int(rng.random() < HIDDEN)
    if in_front:
        front = _draw_clutter(in_front, scene, size, rng.uniform(0.3, 1.6), rng)
        picture.paste(front, mask=front)
    if rng.random() < BLURRED:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.007, 0.015) * min(size)))
    return _apply_light(picture, light, rng)
