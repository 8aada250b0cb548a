"""Scenes and their clutter.

Clutter is drawn in a frame from 0 to `w` and from 0 to `h`, whose shorter side is 1, in the colors of its scene.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_inat.demo.palette import SCHEMES, WHITE, Color, darken, mix, parse_color
from keras_inat.demo.pen import SIDES, Pen, ring

Clutter = Callable[[Pen, "Scene", float, float, np.random.Generator], None]


@dataclass(frozen=True)
class Scene:
    """A kind of place.

    Attributes:
        top, bottom: The colors of the vertical gradient.
        texture: The strength of the noise in gray levels, and its frequency along x and along y.
        clutter: The kinds of clutter, most of it behind the subject.
    """

    top: Color
    bottom: Color
    texture: tuple[float, int, int]
    clutter: tuple[Clutter, ...]


def hills(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    base = rng.uniform(0.45, 0.7) * h
    for depth in (0.0, 0.5, 1.0)[: int(rng.integers(1, 4))]:
        x = np.linspace(-0.2, w + 0.2, 6)
        y = base + depth * 0.25 * h + rng.uniform(-0.09, 0.09, 6)
        ridge = [*zip(x, y, strict=True), (w + 0.3, h + 0.4), (-0.3, h + 0.4)]
        pen.blob(ridge, darken(mix(scene.top, scene.bottom, 0.55 + 0.3 * depth), 0.14 + 0.14 * depth), 0, ink=0)


def blades(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(4, 10))):
        x = rng.uniform(0, w)
        height = rng.uniform(0.15, 0.5)
        bend = rng.uniform(-0.25, 0.25)
        fill = mix(darken(scene.bottom, 0.25), mix(scene.top, (150, 180, 90), 0.5), rng.uniform(0, 0.8))
        path = [(x, h + 0.05), (x + bend * 0.3, h - height * 0.55), (x + bend, h - height)]
        pen.limb(path, (0.05, 0.035, 0.006), fill, ink=0)


def pebbles(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(3, 8))):
        size = rng.uniform(0.03, 0.11)
        y = h - rng.uniform(0.0, 0.22)
        fill = mix(mix(scene.bottom, (150, 140, 135), 0.6), WHITE, rng.uniform(-0.3, 0.4))
        pen.oval(
            rng.uniform(0, w),
            y,
            size,
            size * rng.uniform(0.55, 0.85),
            fill,
            turn=rng.uniform(-20, 20),
            ink=0.5,
        )


def bubbles(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    fill = mix(scene.top, WHITE, 0.35)
    for x, y in rng.uniform((0, 0), (w, h), (int(rng.integers(4, 11)), 2)):
        size = rng.uniform(0.012, 0.055)
        pen.oval(x, y, size, size, fill, shade=0, ink=0, alpha=120)
        pen.dot(x - size * 0.3, y - size * 0.3, size * 0.3, WHITE)


def bokeh(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    for x, y in rng.uniform((0, 0), (w, h), (int(rng.integers(5, 12)), 2)):
        size = rng.uniform(0.04, 0.14)
        fill = mix(mix(scene.top, scene.bottom, rng.random()), WHITE, rng.uniform(0.1, 0.4))
        pen.oval(x, y, size, size, fill, shade=0, ink=0, alpha=int(rng.integers(60, 130)))


def leaves(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    tone = mix(darken(scene.bottom, 0.15), SCHEMES[int(rng.integers(len(SCHEMES)))].main, 0.35)
    for x, y in rng.uniform((0, 0), (w, h), (int(rng.integers(3, 8)), 2)):
        size = rng.uniform(0.06, 0.15)
        axis = ring(4, turn=rng.uniform(0, 360)) * (size, size)
        leaf = [axis[0], axis[1] * 0.38, axis[2], axis[3] * 0.38]
        pen.blob([p + (x, y) for p in leaf], mix(tone, WHITE, rng.uniform(-0.15, 0.3)), 0.4, ink=0)


def trunks(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    for x in rng.uniform(0, w, int(rng.integers(2, 5))):
        width = rng.uniform(0.05, 0.16)
        lean = rng.uniform(-0.1, 0.1)
        fill = darken(mix(scene.top, scene.bottom, rng.random()), rng.uniform(0.1, 0.35))
        pen.limb(
            [(x, -0.1), (x + lean * 0.6, h * 0.6), (x + lean, h + 0.1)],
            (width * 0.8, width, width * 1.3),
            fill,
            ink=0,
        )


def clouds(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    fill = mix(scene.bottom, WHITE, 0.6)
    for x, y in rng.uniform((0, 0), (w, 0.6 * h), (int(rng.integers(1, 4)), 2)):
        size = rng.uniform(0.07, 0.13)
        for dx, dy, k in (
            (-1.5, 0.2, 0.7),
            (1.4, 0.25, 0.75),
            (-0.5, -0.3, 1.0),
            (0.6, -0.1, 0.9),
            (0, 0.35, 0.8),
        ):
            pen.oval(x + dx * size, y + dy * size, size * k * 1.25, size * k * 0.8, fill, shade=0, ink=0)


def flakes(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    for x, y in rng.uniform((0, 0), (w, h), (int(rng.integers(8, 22)), 2)):
        pen.dot(x, y, rng.uniform(0.006, 0.02), mix(scene.top, WHITE, 0.75))


def twigs(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 4))):
        start = np.array([rng.choice((-0.05, w + 0.05)), rng.uniform(0, h)])
        end = start + (rng.uniform(0.25, 0.6) * (1 if start[0] < 0.5 * w else -1), rng.uniform(-0.3, 0.3))
        fill = darken(mix(scene.bottom, (120, 90, 70), 0.5), 0.2)
        middle = (start + end) / 2 + rng.uniform(-0.06, 0.06, 2)
        pen.limb([start, middle, end], (0.035, 0.02, 0.008), fill, ink=0)
        pen.limb([middle, middle + (end - start) * 0.25 + rng.uniform(-0.12, 0.12, 2)], (0.02, 0.006), fill, ink=0)


def large_leaves(pen: Pen, scene: Scene, w: float, h: float, rng: np.random.Generator) -> None:
    """Leaves close to the camera that cover much of the picture."""
    tone = mix(darken(scene.bottom, rng.uniform(0.1, 0.4)), SCHEMES[int(rng.integers(len(SCHEMES)))].main, 0.35)
    root = np.array([rng.choice((-0.1, w + 0.1)), h * rng.uniform(0.3, 1.1)])
    for _ in range(int(rng.integers(2, 5))):
        tip = np.array([w, h]) * rng.uniform(0.15, 0.85, 2)
        along = tip - root
        across = np.array([-along[1], along[0]]) * rng.uniform(0.12, 0.2)
        fill = mix(tone, WHITE, rng.uniform(-0.1, 0.2))
        pen.blob([root, root + 0.55 * along + across, tip, root + 0.55 * along - across], fill, 0.0, ink=0.4)
        lit = [root, root + 0.55 * along + 0.9 * across, tip, root + 0.5 * along]
        pen.blob(lit, mix(fill, WHITE, 0.14), 0.0, ink=0.0)
        for place in (0.25, 0.4, 0.55, 0.7):
            for s in SIDES:
                vein = [root + place * along, root + (place + 0.14) * along + 0.6 * s * across]
                pen.line(vein, 0.008, darken(fill, 0.22), smooth=False)
        pen.line([root, root + 0.92 * along], 0.014, darken(fill, 0.3), smooth=False)


# Clutter that is small enough to stand in front of a subject without hiding it.
FRONT = (blades, pebbles, bubbles, leaves, flakes, twigs)

SCENES = tuple(
    Scene(parse_color(top), parse_color(bottom), texture, clutter)
    for top, bottom, texture, clutter in (
        ("8fc9ea", "f1f4e6", (3, 1, 2), (clouds, hills, blades)),
        ("f6c19c", "fbe8c8", (3, 1, 2), (clouds, hills, flakes)),
        ("cfe3b4", "86b06a", (4, 1, 1), (bokeh, blades, leaves)),
        ("ecefc4", "a3c266", (4, 1, 1), (hills, blades, bokeh)),
        ("f7e6bd", "e2bd80", (4, 1, 3), (pebbles, hills, twigs)),
        ("f3dcc6", "d9a583", (5, 1, 3), (pebbles, leaves, twigs)),
        ("52adc4", "1a5a7d", (5, 1, 2), (bubbles, blades, bokeh)),
        ("a9e0d6", "44a0a8", (5, 1, 2), (bubbles, pebbles, bokeh)),
        ("7fa878", "335c4a", (5, 2, 1), (trunks, leaves, blades)),
        ("cfae7c", "7d5f48", (5, 2, 1), (trunks, leaves, twigs)),
        ("d6d0c8", "9a9699", (6, 1, 1), (pebbles, twigs, flakes)),
        ("e6edf4", "b4cbe0", (3, 1, 1), (flakes, hills, trunks)),
        ("6c6ba3", "f0a79a", (4, 1, 2), (hills, flakes, clouds)),
        ("2f4a7a", "6f9bb5", (4, 1, 1), (flakes, trunks, bokeh)),
    )
)
