"""Sea animals and mollusks.

One function draws one species, from back to front, in the unit frame of the pen.
"""

import numpy as np

from keras_inat.demo.palette import Scheme, darken, mix
from keras_inat.demo.pen import SIDES, Pen, ring, symmetric


def starfish(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    radii = np.tile([1.0, 0.62, 0.36, 0.62], 5)
    radii = radii * rng.uniform(0.9, 1.05, 20)
    points = ring(20, radii, turn=-90)
    points[1::4] = ring(20, radii, turn=-98)[1::4]  # the arms' flanks, drawn in towards their axes
    points[3::4] = ring(20, radii, turn=-82)[3::4]
    pen.blob(points, c.main)
    pen.blob(points * 0.66, mix(c.main, c.second, 0.45), 0.5, ink=0)
    for arm in range(5):
        axis = ring(5, turn=-90)[arm]
        for place in (0.22, 0.38, 0.54, 0.7, 0.84):
            x, y = axis * place
            pen.dot(x, y, 0.075 - 0.05 * place, c.accent)
        side = np.array([-axis[1], axis[0]])
        for s in SIDES:
            for place in (0.3, 0.46):
                x, y = axis * place + side * 0.13 * s
                pen.dot(x, y, 0.028, c.second)
    pen.dot(0, 0, 0.08, c.accent)


def jellyfish(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    phase = rng.uniform(0, 6)
    for i, x in enumerate(np.linspace(-0.55, 0.55, 7)):
        ys = np.linspace(0.0, rng.uniform(0.75, 1.0), 6)
        path = np.stack([x * (1 + 0.25 * ys) + 0.1 * np.sin(5 * ys + phase + i), ys], axis=1)
        pen.limb(path, (0.07, 0.05, 0.02), c.accent if i % 2 else c.second, ink=0.5)
    for x in (-0.2, 0.05, 0.25):
        ys = np.linspace(0.0, 0.65, 6)
        path = np.stack([x + 0.09 * np.sin(7 * ys + phase + 9 * x), ys], axis=1)
        pen.limb(path, (0.2, 0.17, 0.12, 0.03), c.light, ink=0.7)
    hem = [(0.78, 0), (0.5, 0.12), (0.4, 0), (0.2, 0.14), (0, 0.02)]
    bell = symmetric([(0, -0.98), (0.5, -0.82), (0.8, -0.35), *hem])
    pen.blob(bell, c.main)
    pen.blob(bell * (0.6, 0.62) - (0, 0.12), mix(c.main, c.second, 0.5), 0.6, ink=0)
    for x in (-0.5, -0.25, 0, 0.25, 0.5):
        pen.line([(x, -0.06), (x * 0.75, -0.45), (x * 0.3, -0.8)], 0.03, mix(c.main, c.dark, 0.35))


def crab(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    lift = rng.uniform(-0.1, 0.15)
    for s in SIDES:
        for i, y in enumerate((0.12, 0.26, 0.4)):
            pen.limb(
                [(0.4 * s, y), (0.84 * s, y - 0.08 + 0.06 * i), (0.92 * s, y + 0.34)],
                (0.13, 0.11, 0.03),
                c.main,
            )
        pen.limb([(0.45 * s, 0), (0.82 * s, -0.16), (0.72 * s, -0.5 - lift)], (0.15, 0.17, 0.14), c.main)
        x = 0.66 * s
        y = -0.66 - lift
        pen.blob(
            [(x + 0.14 * s, y + 0.2), (x + 0.24 * s, y - 0.1), (x, y - 0.34), (x + 0.02 * s, y - 0.04)],
            c.main,
        )
        pen.blob([(x + 0.1 * s, y + 0.2), (x - 0.16 * s, y + 0.02), (x - 0.2 * s, y - 0.26), (x, y - 0.02)], c.main)
        pen.limb([(0.2 * s, -0.15), (0.24 * s, -0.44)], (0.07, 0.06), c.main)
        pen.eye(0.24 * s, -0.48, 0.1)
    pen.blob(symmetric([(0, -0.3), (0.4, -0.26), (0.7, 0.02), (0.48, 0.46), (0, 0.58)]), c.main)
    for x, y in rng.uniform((-0.4, -0.1), (0.4, 0.1), (7, 2)):
        pen.dot(x, y, rng.uniform(0.03, 0.06), c.second)
    pen.line([(-0.25, 0.32), (0, 0.4), (0.25, 0.32)], 0.035, c.dark)


def snail(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    for x, y in ((0.72, -0.5), (0.92, -0.42)):
        pen.limb([(0.7, 0.2), (x - 0.02, -0.1), (x, y)], (0.09, 0.06, 0.05), c.second, ink=0.8)
        pen.eye(x, y, 0.07)
    pen.blob(
        [
            (0.55, 0.3),
            (0.6, 0.02),
            (0.8, -0.06),
            (0.96, 0.12),
            (0.86, 0.42),
            (0.5, 0.7),
            (-0.3, 0.72),
            (-1.0, 0.74),
            (-0.6, 0.5),
            (0, 0.42),
        ],
        c.second,
    )
    pen.oval(-0.12, -0.02, 0.6, 0.58, c.main)
    turns = np.linspace(0, rng.uniform(4.2, 5.0) * np.pi, 44)
    radius = 0.05 + 0.46 * turns / turns[-1]
    spiral = np.stack([-0.12 + radius * np.cos(turns + 0.6), -0.02 + radius * np.sin(turns + 0.6)], axis=1)
    pen.limb(spiral, (0.03, 0.07, 0.08), c.dark, ink=0, smooth=False)
    pen.line([(0.84, 0.22), (0.88, 0.25), (0.93, 0.22)], 0.03, c.dark)


def scallop(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    number = int(rng.integers(7, 10))
    angles = np.radians(np.linspace(-165, -15, 2 * number + 1))
    radii = np.where(np.arange(2 * number + 1) % 2, 1.25, 1.14)
    rim = np.stack([radii * np.cos(angles) * 0.8, 0.62 + radii * np.sin(angles)], axis=1)
    for s in SIDES:
        pen.polygon([(0, 0.84), (0.42 * s, 0.8), (0.3 * s, 0.44)], darken(c.main, 0.2))
    fan = [(0.0, 0.86), *map(tuple, rim), (0.0, 0.86)]
    pen.blob([fan[0], *fan[1:-1]], c.main)
    for i in range(1, 2 * number, 2):
        x, y = rim[i]
        pen.limb(
            [(0.02 * x, 0.7), (x * 0.93, 0.62 + (y - 0.62) * 0.93)],
            (0.03, 0.11),
            mix(c.main, c.second, 0.65),
            ink=0,
        )
    for f in (0.5, 0.78):
        pen.line(rim * f + (0, 0.62 * (1 - f)), 0.035, mix(c.main, c.dark, 0.35))


def octopus(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    phase = rng.uniform(0, 6)
    for i, spread in enumerate((-1.0, 1.0, -0.68, 0.68, -0.36, 0.36, 0.06)):
        t = np.linspace(0, 1, 7)
        wave = 0.1 * np.sin(6 * t + phase + 2 * i) * t
        path = np.stack([spread * (0.3 + 0.62 * t**0.8) + wave, 0.1 + (0.88 - 0.35 * abs(spread)) * t], axis=1)
        curl = path[-1] + (0.14 * np.sign(spread), -0.12)
        pen.limb(np.concatenate([path, curl[None]]), (0.27, 0.2, 0.14, 0.05), c.main)
        for x, y in path[2:6]:
            pen.dot(x, y + 0.015, 0.038, c.second)
    pen.blob(symmetric([(0, -0.98), (0.42, -0.82), (0.54, -0.4), (0.4, 0), (0.34, 0.3)]), c.main)
    for x, y in rng.uniform((-0.3, -0.8), (0.3, -0.4), (5, 2)):
        pen.dot(x, y, rng.uniform(0.03, 0.07), mix(c.main, c.second, 0.55))
    for s in SIDES:
        pen.eye(0.22 * s, 0.0, 0.14, c.light)
