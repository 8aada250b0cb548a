"""Fungi and plants.

One function draws one species, from back to front, in the unit frame of the pen.
"""

import numpy as np

from keras_inat.demo.palette import WHITE, Color, Scheme, darken, mix
from keras_inat.demo.pen import SIDES, Pen, ring, symmetric


def toadstool(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    lean = rng.uniform(-0.12, 0.12)
    pen.blob(
        [
            (-0.24 + lean, -0.1),
            (0.24 + lean, -0.1),
            (0.23, 0.45),
            (0.33, 0.84),
            (0, 0.96),
            (-0.33, 0.84),
            (-0.23, 0.45),
        ],
        c.light,
    )
    pen.blob(
        [(-0.24 + lean, 0.12), (0.24 + lean, 0.12), (0.34, 0.32), (0, 0.27), (-0.34, 0.32)],
        mix(c.light, WHITE, 0.5),
        0.5,
        ink=0.7,
    )
    pen.oval(lean, -0.04, 0.82, 0.17, c.second, shade=0.3)
    for x in np.linspace(-0.65, 0.65, 9):
        pen.line([(x + lean, 0.06 - 0.1 * abs(x)), (0.6 * x + lean, -0.06)], 0.025, darken(c.second, 0.3))
    pen.blob(
        [
            (-0.9 + lean, -0.1),
            (-0.72 + lean, -0.58),
            (0 + lean, -0.9),
            (0.72 + lean, -0.58),
            (0.9 + lean, -0.1),
            (0.45 + lean, -0.06),
            (lean, -0.04),
            (-0.45 + lean, -0.06),
        ],
        c.main,
    )
    for x, y, size in (
        (-0.5, -0.32, 0.11),
        (-0.12, -0.6, 0.13),
        (0.36, -0.5, 0.11),
        (0.08, -0.24, 0.12),
        (0.62, -0.22, 0.08),
        (-0.74, -0.16, 0.06),
    ):
        jitter = rng.uniform(-0.04, 0.04, 2)
        pen.oval(x + lean + jitter[0], y + jitter[1], size, size * 0.8, WHITE, shade=0.4, ink=0.4)


def bonnets(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """A tuft of slender mushrooms with bell-shaped caps."""
    stems = [(-0.6, -0.1, 0.8), (0.62, 0.02, 0.75), (-0.16, -0.5, 1.0), (0.3, -0.26, 0.85)]
    for x, y, size in stems[: int(rng.integers(3, 5))]:
        y += rng.uniform(-0.1, 0.1)
        pen.limb([(x * 0.25, 0.92), (x * 0.7, 0.5), (x, y)], (0.17, 0.12, 0.1), c.light)
        cap = symmetric([(0, -0.46), (0.3, -0.14), (0.36, 0.16), (0.18, 0.1), (0, 0.14)])
        pen.blob(cap * size + (x, y), c.main)
        for f in (-0.2, 0.0, 0.2):
            pen.line(
                [(x + f * size, y + 0.06 * size), (x + 0.4 * f * size, y - 0.26 * size)],
                0.025,
                mix(c.main, c.dark, 0.4),
            )


def chanterelle(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """A funnel with a wavy rim and gills that run down the stem."""
    lean = rng.uniform(-0.1, 0.1)
    pen.blob(symmetric([(0.22, 0.88), (0.2, 0.4), (0.42, -0.12), (0.78, -0.42), (0, -0.5)]), c.main)
    for x in np.linspace(-0.6, 0.6, 8):
        pen.line([(x, -0.28 + 0.1 * abs(x)), (0.5 * x, 0.02), (0.22 * x, 0.56)], 0.035, darken(c.main, 0.38))
    waves = ring(16) * (0.88, 0.3) + (lean, -0.48)
    waves[:, 1] += np.tile([0.06, -0.06], 8) * rng.uniform(0.7, 1.3, 16)
    pen.blob(waves, mix(c.main, WHITE, 0.16), 0.5)
    pen.oval(lean, -0.46, 0.48, 0.13, darken(c.main, 0.35), shade=0.5, ink=0)


def _leaf(pen: Pen, start: tuple[float, float], tip: tuple[float, float], width: float, fill: Color) -> None:
    a = np.array(start)
    b = np.array(tip)
    across = np.array([-(b - a)[1], (b - a)[0]]) * width
    pen.blob([a, a + (b - a) * 0.4 + across, b, a + (b - a) * 0.4 - across], fill, 0.7)
    pen.line([tuple(a), tuple(a + (b - a) * 0.85)], 0.03, darken(fill, 0.35))


def daisy(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    green = mix(c.accent, (92, 140, 84), 0.55)
    lean = rng.uniform(-0.2, 0.2)
    pen.limb([(lean * 1.5, 1.0), (lean, 0.4), (0, -0.3)], (0.09, 0.08), green)
    for s, y in ((1, 0.62), (-1, 0.46)):
        _leaf(pen, (lean, y + 0.1), (lean + 0.62 * s, y - 0.2), 0.24, green)
    number = int(rng.integers(7, 12))
    reach = 0.58
    width = 2.0 / number
    for axis in ring(number, turn=rng.uniform(0, 40)):
        across = np.array([-axis[1], axis[0]]) * width
        pen.blob(
            [
                p + (0, -0.34)
                for p in (
                    axis * 0.12,
                    axis * reach * 0.7 + across * 0.6,
                    axis * reach,
                    axis * reach * 0.7 - across * 0.6,
                )
            ],
            c.main,
            0.8,
            ink=0.8,
        )
    pen.oval(0, -0.34, 0.21, 0.21, c.second)
    for x, y in (*ring(7, 0.12, turn=rng.uniform(0, 50)), (0, 0)):
        pen.dot(x, y - 0.34, 0.028, darken(c.second, 0.4))


def sprig(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """A twig with paired leaves."""
    bow = rng.uniform(-0.35, 0.35)
    heights = np.linspace(0.62, -0.62, int(rng.integers(4, 6)))
    for y in heights:
        x = bow * (1 - y * y)
        size = 0.62 - 0.16 * (0.6 - y) / 1.2
        for s in SIDES:
            _leaf(pen, (x, y), (x + size * s, y - 0.34), 0.28, mix(c.main, c.second, 0.0 if s > 0 else 0.22))
    pen.limb([(0, 1.0), (bow * 0.75, 0.5), (bow, 0.0), (bow * 0.6, -0.6)], (0.09, 0.07, 0.05), c.dark, ink=0.4)
    _leaf(pen, (bow * 0.6, -0.56), (bow * 0.4, -1.0), 0.26, c.main)


def cactus(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    drop = rng.uniform(-0.12, 0.12)
    for s, y in ((1, 0.1 + drop), (-1, 0.3 - drop)):
        pen.limb(
            [(0.1 * s, y + 0.1), (0.5 * s, y + 0.12), (0.62 * s, y - 0.1), (0.62 * s, y - 0.42)],
            (0.26, 0.26, 0.25, 0.22),
            c.main,
        )
        for x, h in ((0.57, -0.36), (0.67, -0.3)):
            pen.line([(x * s, y - 0.02), (x * s, y + h)], 0.025, darken(c.main, 0.35))
    pen.blob(symmetric([(0, -0.8), (0.28, -0.5), (0.31, 0.3), (0.26, 0.96)]), c.main)
    for x in (-0.16, 0.0, 0.16):
        pen.line([(x, 0.9), (x * 1.1, 0.1), (x * 0.8, -0.6)], 0.03, darken(c.main, 0.35))
        for y in np.arange(-0.4, 0.9, 0.24):
            pen.line([(x - 0.05, y), (x + 0.05, y + 0.03)], 0.025, c.light)
    for x, y in ((0, -0.8), (0.62, -0.36 + drop)):
        for px, py in ring(5, 0.12, turn=rng.uniform(0, 60)):
            pen.oval(x + px, y + py, 0.1, 0.1, c.second, shade=0.5, ink=0.6)
        pen.dot(x, y, 0.07, c.accent)
