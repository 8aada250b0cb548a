"""Birds and mammals.

One function draws one species, from back to front, in the unit frame of the pen.
"""

import numpy as np

from keras_inat.demo.palette import INK, WHITE, Scheme, darken, mix
from keras_inat.demo.pen import SIDES, Pen, symmetric


def songbird(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """In profile, looking right."""
    tilt = rng.uniform(-0.1, 0.12)
    for x in (-0.05, 0.12):
        pen.line([(x, 0.5), (x + 0.04, 0.9), (x + 0.16, 0.94)], 0.05, c.dark, smooth=False)
    pen.polygon([(-0.45, 0.05), (-1.0, 0.28 + tilt), (-0.92, 0.5 + tilt), (-0.35, 0.4)], darken(c.main, 0.25))
    pen.polygon([(0.58, -0.56), (0.98, -0.4), (0.58, -0.28)], c.accent)
    pen.blob(
        [
            (0.36, -0.8),
            (0.62, -0.68),
            (0.68, -0.42),
            (0.6, -0.1),
            (0.5, 0.25),
            (0.2, 0.58),
            (-0.2, 0.52),
            (-0.55, 0.2),
            (-0.3, -0.12),
            (0.0, -0.36),
            (0.1, -0.68),
        ],
        c.main,
    )
    pen.blob(
        [(0.54, -0.28), (0.5, 0.14), (0.3, 0.46), (0.02, 0.52), (0.14, 0.12), (0.34, -0.22)],
        c.second,
        0.5,
        ink=0,
    )
    if rng.random() < 0.5:
        pen.blob([(0.12, -0.66), (0.36, -0.79), (0.61, -0.66), (0.36, -0.62)], c.dark, 0.3, ink=0)
    pen.blob([(0.1, -0.18), (0.12, 0.1), (-0.2, 0.36), (-0.72, 0.32), (-0.35, 0.0)], darken(c.main, 0.28), 0.7)
    for f in (0.0, 0.1):
        pen.line([(0.0, 0.1 + f), (-0.3, 0.24 + f * 0.6), (-0.55, 0.26 + f * 0.4)], 0.035, c.second)
    pen.eye(0.46, -0.5, 0.08)


def owl(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    for s in SIDES:
        pen.polygon([(0.2 * s, -0.72), (0.55 * s, -1.0), (0.56 * s, -0.5)], c.main)
    pen.blob(symmetric([(0, -0.82), (0.5, -0.7), (0.62, -0.1), (0.55, 0.55), (0, 0.85)]), c.main)
    pen.oval(0, 0.35, 0.38, 0.42, c.second, shade=0.4, ink=0)
    for row, y in enumerate((0.12, 0.3, 0.48)):
        for x in np.arange(-1, 2) * 0.22 + (0.11 if row % 2 else 0.0):
            pen.line([(x - 0.07, y), (x, y + 0.08), (x + 0.07, y)], 0.035, mix(c.main, c.dark, 0.3))
    for s in SIDES:
        pen.blob([(0.48 * s, -0.2), (0.72 * s, 0.15), (0.55 * s, 0.66), (0.42 * s, 0.3)], darken(c.main, 0.3), 0.6)
        pen.limb([(0.2 * s, 0.8), (0.2 * s, 0.92)], (0.2, 0.16), c.accent, ink=0.7)
        pen.oval(0.27 * s, -0.42, 0.3, 0.3, c.light, shade=0.3, ink=0.7)
        pen.eye(0.25 * s, -0.42, 0.2, c.accent)
    pen.polygon([(-0.09, -0.3), (0.09, -0.3), (0, -0.08)], c.accent, ink=0.7)


def swallow(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """In flight, seen from below, the head up."""
    sweep = rng.uniform(-0.12, 0.2)
    for s in SIDES:
        pen.polygon([(0, 0.3), (0.1 * s, 0.4), (0.36 * s, 0.98), (0.06 * s, 0.62)], darken(c.main, 0.25))
        pen.blob(
            [
                (0.08 * s, -0.4),
                (0.5 * s, -0.5),
                (1.05 * s, -0.1 + sweep),
                (0.62 * s, -0.08),
                (0.12 * s, 0.12),
            ],
            c.main,
        )
        for f in (0.0, 0.5, 1.0):
            tip = (0.5 + 0.38 * f) * s
            pen.line([(0.16 * s, -0.06 - 0.1 * f), (tip, -0.12 + sweep * f)], 0.035, mix(c.main, c.dark, 0.4))
    pen.blob(symmetric([(0, -0.72), (0.19, -0.45), (0.2, 0), (0, 0.55)]), c.main)
    pen.blob(symmetric([(0, -0.4), (0.13, -0.2), (0.12, 0.1), (0, 0.42)]), c.second, 0.4, ink=0)
    pen.polygon([(-0.07, -0.7), (0.07, -0.7), (0, -0.9)], c.accent)
    pen.oval(0, -0.6, 0.17, 0.17, c.main)
    for s in SIDES:
        pen.eye(0.1 * s, -0.64, 0.045)


def _face(pen: Pen, c: Scheme, muzzle: float) -> None:
    """Draws the eyes, nose and mouth of a mammal that faces the viewer."""
    for s in SIDES:
        pen.eye(0.3 * s, -0.1, 0.1)
    pen.blob(
        [(-0.11, 0.22 + muzzle), (0, 0.19 + muzzle), (0.11, 0.22 + muzzle), (0, 0.34 + muzzle)],
        INK,
        0.5,
        ink=0,
    )
    for s in SIDES:
        pen.line([(0, 0.32 + muzzle), (0.05 * s, 0.44 + muzzle), (0.2 * s, 0.44 + muzzle)], 0.035, c.dark)


def fox(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """A pointed face with pale cheeks."""
    perk = rng.uniform(-0.08, 0.06)
    for s in SIDES:
        pen.polygon([(0.2 * s, -0.42), (0.66 * s, -0.98 - perk), (0.8 * s, -0.12)], c.main)
        pen.polygon([(0.36 * s, -0.44), (0.62 * s, -0.78 - perk), (0.68 * s, -0.26)], c.dark, ink=0)
    pen.blob(symmetric([(0, -0.56), (0.55, -0.44), (0.86, 0.1), (0.55, 0.42), (0.18, 0.76)]), c.main)
    for s in SIDES:
        pen.blob(
            [(0.08 * s, 0.26), (0.4 * s, 0.06), (0.84 * s, 0.12), (0.54 * s, 0.42), (0.16 * s, 0.72)],
            c.light,
            0.3,
            ink=0,
        )
    _face(pen, c, 0.28)


def cat(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """A round face, whiskers, sometimes stripes."""
    for s in SIDES:
        pen.polygon([(0.12 * s, -0.5), (0.62 * s, -0.95), (0.76 * s, -0.2)], c.main)
        pen.polygon([(0.34 * s, -0.54), (0.57 * s, -0.76), (0.64 * s, -0.36)], c.second, ink=0)
    pen.blob(symmetric([(0, -0.58), (0.5, -0.5), (0.8, 0.05), (0.6, 0.55), (0, 0.74)]), c.main)
    if rng.random() < 0.6:
        for x in (-0.2, 0.0, 0.2):
            pen.limb([(x, -0.54 + 0.2 * abs(x)), (x * 0.8, -0.28)], (0.08, 0.03), c.dark, ink=0)
    for s in SIDES:
        pen.oval(0.17 * s, 0.36, 0.24, 0.2, c.light, shade=0.3, ink=0)
        pen.eye(0.32 * s, -0.08, 0.17, c.accent)
        for y in (0.28, 0.4, 0.52):
            pen.line([(0.3 * s, 0.38), (0.95 * s, y - 0.08)], 0.025, WHITE)
    pen.polygon([(-0.09, 0.2), (0.09, 0.2), (0, 0.32)], c.accent, ink=0.6)
    for s in SIDES:
        pen.line([(0, 0.32), (0.06 * s, 0.43), (0.2 * s, 0.42)], 0.035, c.dark)


def bear(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    spread = rng.uniform(0.5, 0.6)
    for s in SIDES:
        pen.oval(spread * s, -0.6, 0.26, 0.26, c.main)
        pen.oval(spread * s, -0.58, 0.14, 0.14, c.second, shade=0.3, ink=0)
    pen.blob(symmetric([(0, -0.72), (0.55, -0.6), (0.82, 0), (0.7, 0.5), (0, 0.76)]), c.main)
    pen.oval(0, 0.32, 0.36, 0.31, c.light, shade=0.4, ink=0.5)
    _face(pen, c, 0.0)


def rabbit(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    flop = rng.uniform(-0.05, 0.3)
    for s in SIDES:
        ear = [
            (0.12 * s, -0.2),
            (0.1 * s, -0.7),
            ((0.26 + flop) * s, -1.05),
            ((0.44 + flop) * s, -0.8),
            (0.42 * s, -0.2),
        ]
        pen.blob(ear, c.main)
        pen.blob([(0.28 * s + 0.5 * (x - 0.28 * s), 0.75 * y - 0.1) for x, y in ear], c.second, 0.3, ink=0)
    pen.blob(symmetric([(0, -0.35), (0.45, -0.25), (0.64, 0.25), (0.45, 0.7), (0, 0.82)]), c.main)
    for s in SIDES:
        pen.oval(0.16 * s, 0.5, 0.2, 0.17, c.light, shade=0.3, ink=0)
        pen.eye(0.32 * s, 0.12, 0.1)
        for y in (0.44, 0.56):
            pen.line([(0.26 * s, 0.5), (0.8 * s, y)], 0.022, WHITE)
    pen.polygon([(-0.08, 0.32), (0.08, 0.32), (0, 0.42)], c.accent, ink=0.5)
    pen.polygon(symmetric([(0.07, 0.56), (0.06, 0.7)]), WHITE, ink=0.5)
