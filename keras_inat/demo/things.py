"""Man-made things and a crystal, which a backbone is pretrained on.

One function draws one thing, from back to front, in the unit frame of the pen.
"""

import numpy as np

from keras_inat.demo.palette import INK, WHITE, Scheme, darken, mix
from keras_inat.demo.pen import SIDES, Pen, ring, symmetric


def boat(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    pen.line([(0, -0.98), (0, 0.35)], 0.07, c.dark)
    belly = rng.uniform(0.0, 0.15)
    pen.blob([(0.08, -0.9), (0.4 + belly, -0.4), (0.75, 0.2), (0.4, 0.25), (0.08, 0.22), (0.1, -0.3)], c.second)
    pen.blob(
        [(-0.08, -0.72), (-0.06, -0.2), (-0.08, 0.2), (-0.4, 0.22), (-0.62, 0.2), (-0.3 - belly, -0.2)],
        c.light,
    )
    pen.polygon([(0, -0.98), (0.32, -0.9), (0, -0.82)], c.accent)
    pen.polygon([(-0.9, 0.36), (0.95, 0.36), (0.6, 0.82), (-0.6, 0.82)], c.main)
    pen.line([(-0.82, 0.5), (0.84, 0.5)], 0.07, c.light)


def house(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    side = rng.choice(SIDES)
    pen.polygon(
        [(0.3 * side, -0.85), (0.5 * side, -0.85), (0.5 * side, -0.3), (0.3 * side, -0.3)],
        darken(c.main, 0.3),
    )
    pen.polygon(symmetric([(0.68, -0.15), (0.68, 0.85)]), c.light)
    pen.polygon([(0, -0.9), (0.95, -0.1), (-0.95, -0.1)], c.main, 0.5)
    pen.polygon(symmetric([(0.16, 0.35), (0.16, 0.85)]), c.accent)
    pen.dot(0.09, 0.62, 0.035, c.light)
    for s in SIDES:
        pen.polygon([(0.3 * s, 0.08), (0.56 * s, 0.08), (0.56 * s, 0.42), (0.3 * s, 0.42)], c.second)
        pen.line([(0.43 * s, 0.08), (0.43 * s, 0.42)], 0.03, c.dark)
    pen.oval(0, -0.4, 0.13, 0.13, c.second, shade=0.3)


def cup(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    handle = 0.55 + 0.5 * ring(16)[np.arange(-5, 6)]
    pen.limb(handle * (0.8, 0.75) + (0.12, -0.25), (0.16, 0.16), c.main)
    pen.blob(symmetric([(0.36, 0.78), (0.6, 0.3), (0.62, -0.35), (0, -0.3)]), c.main)
    pen.oval(0, -0.38, 0.63, 0.2, c.light, shade=0.3)
    pen.oval(0, -0.34, 0.5, 0.13, darken(c.accent, 0.35), shade=0.4, ink=0)
    pen.line([(-0.57, 0.12), (0, 0.26), (0.57, 0.12)], 0.12, c.second)
    for x in (-0.2, 0.15):
        sway = rng.uniform(-0.08, 0.08)
        pen.limb(
            [(x, -0.55), (x + 0.1 + sway, -0.72), (x - 0.06, -0.85), (x + 0.05, -1.0)],
            (0.03, 0.08, 0.06, 0.02),
            WHITE,
            ink=0,
        )


def key(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    pen.limb([(0, -0.3), (0, 0.95)], (0.2, 0.2), c.main, smooth=False)
    for y in (0.5, 0.82) if rng.random() < 0.5 else (0.4, 0.62, 0.84):
        pen.polygon([(0.06, y - 0.08), (rng.uniform(0.32, 0.46), y - 0.08), (0.4, y + 0.08), (0.06, y + 0.08)], c.main)
    if rng.random() < 0.5:
        pen.oval(0, -0.55, 0.44, 0.42, c.main)
        pen.oval(0, -0.57, 0.2, 0.19, INK, shade=0)
    else:
        for x, y in ((0.0, -0.78), (0.28, -0.42), (-0.28, -0.42)):
            pen.oval(x, y, 0.27, 0.27, c.main)
            pen.oval(x, y, 0.12, 0.12, INK, shade=0, ink=0)
    pen.limb([(-0.17, -0.08), (0.17, -0.08)], (0.12, 0.12), c.accent)


def kite(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    sway = rng.uniform(-0.25, 0.25)
    tail = np.array([(0, 0.35), (sway, 0.6), (-sway, 0.8), (sway, 1.0)])
    pen.line(tail, 0.035, c.dark)
    for x, y in tail[1:]:
        for s in SIDES:
            pen.polygon([(x, y), (x + 0.14 * s, y - 0.08), (x + 0.14 * s, y + 0.08)], c.accent, ink=0.7)
    top = (0, -0.98)
    right = (0.6, -0.42)
    low = (0, 0.4)
    left = (-0.6, -0.42)
    for corner, fill in (
        ((top, right), c.main),
        ((right, low), c.second),
        ((low, left), c.main),
        ((left, top), c.second),
    ):
        pen.polygon([*corner, (0, -0.42)], fill)
    pen.line([top, low], 0.03, c.dark, smooth=False)
    pen.line([left, right], 0.03, c.dark, smooth=False)


def lamp(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    flare = rng.uniform(0.62, 0.82)
    pen.oval(0, 0.84, 0.46, 0.13, c.accent)
    pen.limb([(0, -0.1), (0, 0.82)], (0.11, 0.11), c.accent)
    if rng.random() < 0.5:
        pen.oval(0, 0.48, 0.2, 0.26, c.accent)
    pen.oval(0, 0.05, 0.16, 0.16, (255, 236, 170), shade=0.4, ink=0.5)
    pen.polygon([(-0.3, -0.92), (0.3, -0.92), (flare, 0.02), (-flare, 0.02)], c.main, 0.7)
    pen.line([(-flare * 0.94, -0.07), (flare * 0.94, -0.07)], 0.09, c.second)
    pen.line([(0.3, 0.05), (0.3, 0.35)], 0.03, c.dark)
    pen.dot(0.3, 0.38, 0.05, c.dark)


def clock(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    for s in SIDES:
        pen.limb([(0.4 * s, 0.6), (0.56 * s, 0.92)], (0.14, 0.1), c.dark)
        pen.oval(0.48 * s, -0.68, 0.28, 0.2, c.accent, turn=38 * s)
    pen.limb([(0, -0.6), (0, -0.9)], (0.12, 0.12), c.dark)
    pen.oval(0, 0.08, 0.78, 0.78, c.main)
    pen.oval(0, 0.08, 0.61, 0.61, c.light, shade=0.3)
    for x, y in ring(12, 0.5) + (0, 0.08):
        pen.dot(x, y, 0.04, c.dark)
    for length, width in ((0.32, 0.09), (0.46, 0.06)):
        angle = rng.uniform(0, 2 * np.pi)
        pen.line([(0, 0.08), (length * np.cos(angle), 0.08 + length * np.sin(angle))], width, INK, smooth=False)
    pen.dot(0, 0.08, 0.07, c.accent)


def car(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    roof = rng.uniform(-0.56, -0.42)
    pen.blob(
        [
            (-0.62, -0.02),
            (-0.5, roof + 0.06),
            (-0.2, roof),
            (0.2, roof),
            (0.42, roof + 0.1),
            (0.62, 0.0),
            (0.3, 0.2),
            (-0.3, 0.2),
        ],
        c.main,
    )
    for s in SIDES:
        pen.polygon(
            [(0.05 * s, roof + 0.12), (0.34 * s, roof + 0.14), (0.48 * s, -0.02), (0.05 * s, -0.02)],
            mix(c.light, (170, 205, 225), 0.6),
            ink=0.6,
        )
    pen.blob(
        [
            (-0.95, 0.2),
            (-0.85, -0.02),
            (-0.4, -0.06),
            (0.5, -0.06),
            (0.9, 0.04),
            (1.0, 0.25),
            (0.92, 0.42),
            (0, 0.46),
            (-0.9, 0.42),
        ],
        c.main,
    )
    pen.line([(-0.9, 0.2), (0.92, 0.2)], 0.06, c.second)
    pen.dot(0.9, 0.1, 0.075, (255, 240, 180))
    pen.dot(-0.9, 0.1, 0.06, c.accent)
    for x in (-0.52, 0.54):
        pen.oval(x, 0.42, 0.25, 0.25, INK, shade=0.4)
        pen.oval(x, 0.42, 0.12, 0.12, c.light, shade=0.3, ink=0)


def crystal(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    for x, tilt, height, fill in (
        (-0.45, -0.45, 0.95, c.second),
        (0.48, 0.4, 1.05, c.accent),
        (0.0, 0.05, 1.6, c.main),
    ):
        height *= rng.uniform(0.9, 1.05)
        low = 0.85
        top = 0.85 - height
        width = 0.22 + 0.04 * height
        apex = x + tilt
        left = x + tilt * 0.7 - width
        right = x + tilt * 0.7 + width
        middle = x + tilt * 0.7 - 0.2 * width
        shoulder = top + 0.26
        outline = [(x - width, low), (left, shoulder), (apex, top), (right, shoulder), (x + width, low)]
        pen.polygon(outline, fill)
        pen.polygon(
            [(x - width, low), (left, shoulder), (middle, shoulder + 0.1), (x - 0.2 * width, low)],
            mix(fill, WHITE, 0.4),
            ink=0,
        )
        pen.polygon([(left, shoulder), (apex, top), (middle, shoulder + 0.1)], mix(fill, WHITE, 0.65), ink=0)
        pen.polygon([(middle, shoulder + 0.1), (apex, top), (right, shoulder)], mix(fill, WHITE, 0.2), ink=0)
        pen.polygon(
            [(x + 0.5 * width, low), (middle + width, shoulder + 0.05), (right, shoulder), (x + width, low)],
            darken(fill, 0.3),
            ink=0,
        )


def rocket(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    flame = rng.uniform(0.85, 1.05)
    pen.blob([(-0.2, 0.55), (0.2, 0.55), (0.14, 0.8), (0, flame), (-0.14, 0.8)], (244, 150, 70), 0.6)
    pen.blob([(-0.09, 0.55), (0.09, 0.55), (0, 0.78)], (255, 226, 140), 0, ink=0)
    for s in SIDES:
        pen.blob([(0.26 * s, 0.05), (0.62 * s, 0.4), (0.6 * s, 0.78), (0.22 * s, 0.5)], c.accent)
    pen.blob(symmetric([(0, -1.0), (0.28, -0.6), (0.38, -0.1), (0.26, 0.56)]), c.main)
    pen.blob(symmetric([(0, -1.0), (0.18, -0.78), (0.27, -0.58), (0, -0.54)]), c.accent, 0.6, ink=0)
    for y in (-0.2, 0.18) if rng.random() < 0.5 else (-0.18,):
        pen.oval(0, y, 0.17, 0.17, c.light)
        pen.oval(0, y, 0.11, 0.11, (120, 175, 205), shade=0.6, ink=0)
    pen.line([(-0.27, 0.42), (0.27, 0.42)], 0.07, c.second)
