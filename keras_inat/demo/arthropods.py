"""Arachnids and insects.

One function draws one species, from back to front, in the unit frame of the pen.
"""

import numpy as np

from keras_inat.demo.palette import WHITE, Scheme, darken, mix
from keras_inat.demo.pen import SIDES, Pen, ring, symmetric


def _eight_legs(pen: Pen, fill: tuple[int, int, int], width: float, reach: float, rng: np.random.Generator) -> None:
    for s in SIDES:
        for i, angle in enumerate((-62, -24, 16, 58)):
            a = np.radians(angle + rng.uniform(-6, 6))
            knee = np.array([np.cos(a), np.sin(a)]) * reach * 0.62 + (0, -0.12 if i < 2 else 0.06)
            tip = np.array([np.cos(a), np.sin(a)]) * reach + (0.02, 0.2 if angle > 0 else -0.14)
            pen.limb(
                [(0.1 * s, -0.1), (knee[0] * s, knee[1]), (tip[0] * s, tip[1])],
                (width, width * 0.8, width * 0.35),
                fill,
            )


def spider(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """From above, the abdomen at the bottom."""
    _eight_legs(pen, c.main, 0.11, 0.95, rng)
    pen.blob(symmetric([(0, 0), (0.36, 0.14), (0.44, 0.46), (0.22, 0.8), (0, 0.88)]), c.main)
    if rng.random() < 0.5:
        pen.polygon(symmetric([(0, 0.16), (0.1, 0.38), (0.26, 0.42), (0.1, 0.52), (0, 0.76)]), c.second, ink=0)
    else:
        for y, width in ((0.24, 0.22), (0.42, 0.32), (0.6, 0.24)):
            pen.line([(-width, y), (0, y + 0.08), (width, y)], 0.07, c.second)
    pen.oval(0, -0.18, 0.27, 0.28, mix(c.main, c.dark, 0.25))
    for s in SIDES:
        pen.limb([(0.08 * s, -0.38), (0.14 * s, -0.56)], (0.09, 0.05), c.dark, ink=0.6)
        pen.dot(0.08 * s, -0.32, 0.05, WHITE)
        pen.dot(0.17 * s, -0.26, 0.035, WHITE)


def web_spider(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """A small round spider in its web."""
    spokes = ring(9, turn=rng.uniform(0, 40)) * rng.uniform(0.92, 1.08, (9, 1))
    for spoke in spokes:
        pen.line([(0, 0), tuple(spoke)], 0.022, WHITE, smooth=False)
    for radius in (0.42, 0.62, 0.8, 0.95):
        loop = np.concatenate([spokes, spokes[:1]]) * radius
        middle = (loop[1:] + loop[:-1]) * 0.46
        path = np.stack([loop[:-1], middle], axis=1).reshape(-1, 2)
        pen.line(np.concatenate([path, path[:1]]), 0.018, WHITE, smooth=False)
    _eight_legs(pen, c.dark, 0.075, 0.66, rng)
    pen.oval(0, 0.22, 0.3, 0.34, c.main)
    pen.oval(0, 0.22, 0.1, 0.22, c.accent, shade=0.3, ink=0)
    pen.oval(0, -0.14, 0.18, 0.18, c.dark)
    for s in SIDES:
        pen.dot(0.06 * s, -0.2, 0.035, WHITE)


def scorpion(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    side = rng.choice(SIDES)
    for s in SIDES:
        for i in range(4):
            y = -0.24 + 0.15 * i
            pen.limb(
                [(0.12 * s, y), (0.5 * s, y - 0.1 + 0.07 * i), (0.66 * s, y + 0.1 + 0.08 * i)],
                (0.09, 0.08, 0.03),
                c.main,
            )
        pen.limb([(0.15 * s, -0.36), (0.55 * s, -0.42), (0.5 * s, -0.7)], (0.11, 0.12, 0.1), c.main)
        for lean in (0.12, -0.14):
            pen.blob(
                [
                    (0.5 * s, -0.62),
                    (0.5 * s + lean * 1.3, -0.8),
                    (0.48 * s + lean * 0.3, -1.02),
                    (0.49 * s, -0.78),
                ],
                c.main,
            )
    pen.blob(symmetric([(0, -0.5), (0.22, -0.42), (0.26, -0.1), (0.2, 0.3), (0, 0.42)]), c.main)
    for y in (-0.14, 0.0, 0.14, 0.27):
        pen.line([(-0.2, y), (0, y + 0.05), (0.2, y)], 0.04, c.dark)
    tail = [(0, 0.42), (0.06, 0.6), (0.22, 0.74), (0.44, 0.78), (0.64, 0.68), (0.72, 0.48)]
    for (x, y), size in zip(tail, (0.13, 0.12, 0.115, 0.11, 0.105, 0.12), strict=True):
        pen.oval(x * side, y, size, size, c.main)
    pen.limb([(0.72 * side, 0.44), (0.7 * side, 0.28), (0.56 * side, 0.2)], (0.1, 0.07, 0.02), c.accent)
    for s in SIDES:
        pen.dot(0.07 * s, -0.36, 0.04, WHITE)


def butterfly(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    fold = rng.uniform(0.8, 1.0)
    for s in SIDES:
        k = s * fold
        low = [(0.06 * k, 0.05), (0.5 * k, 0.05), (0.78 * k, 0.4), (0.55 * k, 0.82), (0.25 * k, 0.65)]
        high = [
            (0.05 * k, -0.1),
            (0.3 * k, -0.62),
            (0.85 * k, -0.86),
            (1.0 * k, -0.5),
            (0.72 * k, 0.02),
            (0.3 * k, 0.12),
        ]
        for wing, fill in ((low, mix(c.main, c.second, 0.35)), (high, c.main)):
            pen.blob(wing, darken(fill, 0.45), 0.3)
            center = np.mean(wing, axis=0)
            pen.blob((np.array(wing) - center) * 0.76 + center * (0.93, 1.0), fill, 0.8, ink=0)
        pen.oval(0.62 * k, -0.46, 0.14, 0.14, c.second, shade=0.3, ink=0.5)
        pen.dot(0.62 * k, -0.46, 0.06, c.dark)
        pen.oval(0.48 * k, 0.42, 0.11, 0.11, c.accent, shade=0.3, ink=0.5)
        pen.line([(0.03 * s, -0.4), (0.1 * s, -0.68), (0.25 * s, -0.86)], 0.03, c.dark)
        pen.dot(0.25 * s, -0.86, 0.045, c.dark)
    pen.limb([(0, -0.4), (0, 0.0), (0, 0.5)], (0.14, 0.17, 0.13, 0.06), c.dark, ink=0.5)
    pen.oval(0, -0.42, 0.1, 0.1, c.dark, ink=0.5)


def beetle(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """From above, the head up, spotted or striped."""
    for s in SIDES:
        for y, knee, tip in (
            (-0.3, (0.62, -0.42), (0.72, -0.7)),
            (0.08, (0.76, 0.04), (0.94, 0.22)),
            (0.4, (0.68, 0.56), (0.74, 0.9)),
        ):
            pen.limb(
                [(0.3 * s, y), (knee[0] * s, knee[1]), (tip[0] * s, tip[1])],
                (0.12, 0.09, 0.05),
                c.dark,
                smooth=False,
            )
        pen.line([(0.08 * s, -0.72), (0.22 * s, -0.92), (0.42 * s, -1.0)], 0.045, c.dark)
    pen.oval(0, -0.66, 0.22, 0.2, c.dark)
    pen.blob(symmetric([(0, -0.66), (0.32, -0.56), (0.42, -0.34), (0, -0.24)]), mix(c.main, c.dark, 0.55))
    pen.blob(symmetric([(0, -0.42), (0.44, -0.34), (0.58, 0.1), (0.42, 0.6), (0, 0.84)]), c.main)
    pen.line([(0, -0.4), (0, 0.82)], 0.045, c.dark)
    style = rng.integers(3)
    for s in SIDES:
        if style == 0:
            for x, y, radius in ((0.24, -0.14, 0.1), (0.36, 0.2, 0.11), (0.18, 0.46, 0.1)):
                pen.dot(x * s, y, radius, c.dark)
        elif style == 1:
            for x, low in ((0.16, 0.66), (0.34, 0.5)):
                pen.line([(x * s, -0.26), (x * s * 1.1, 0.15), (x * s * 0.8, low)], 0.05, c.second)
        pen.dot(0.15 * s, -0.74, 0.05, WHITE)


def dragonfly(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    lift = rng.uniform(-0.1, 0.1)
    glass = mix(c.second, WHITE, 0.55)
    for s in SIDES:
        for y, tip in ((-0.42, -0.62 + lift), (-0.2, 0.02 - lift)):
            wing = [
                (0.05 * s, y),
                (0.5 * s, (y + tip) / 2 - 0.14),
                (1.0 * s, tip - 0.06),
                (0.95 * s, tip + 0.12),
                (0.45 * s, (y + tip) / 2 + 0.14),
            ]
            pen.blob(wing, glass, 0.3, ink=0.8, alpha=190)
            pen.line([(0.08 * s, y), (0.9 * s, tip)], 0.025, c.dark)
            pen.dot(0.86 * s, tip - 0.03, 0.05, c.accent)
    pen.limb([(0, -0.2), (0, 0.4), (0, 0.95)], (0.16, 0.11, 0.11, 0.09), c.main)
    for y in (0.15, 0.33, 0.51, 0.69, 0.87):
        pen.line([(-0.05, y), (0.05, y)], 0.045, c.dark)
    pen.oval(0, -0.32, 0.17, 0.28, c.main)
    pen.oval(0, -0.64, 0.18, 0.13, c.main)
    for s in SIDES:
        pen.eye(0.14 * s, -0.68, 0.13, c.accent)
