"""Amphibians and reptiles.

One function draws one species, from back to front, in the unit frame of the pen.
"""

import numpy as np

from keras_inat.demo.palette import INK, WHITE, Scheme, darken, mix
from keras_inat.demo.pen import SIDES, Pen, ring, spline, symmetric


def frog(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """Seated, facing the viewer."""
    for s in SIDES:
        pen.oval(0.62 * s, 0.45, 0.33, 0.42, c.main, turn=-18 * s)
        pen.blob(
            [(0.45 * s, 0.8), (0.75 * s, 0.76), (0.98 * s, 0.88), (0.7 * s, 0.94)],
            mix(c.main, c.second, 0.3),
            0.4,
        )
    pen.blob(symmetric([(0, -0.3), (0.5, 0.05), (0.48, 0.62), (0, 0.84)]), c.main)
    pen.oval(0, 0.45, 0.33, 0.36, c.light, shade=0.4, ink=0)
    for s in SIDES:
        pen.limb([(0.3 * s, 0.25), (0.36 * s, 0.6), (0.25 * s, 0.88)], (0.2, 0.16, 0.14), c.main)
        for toe in (-0.13, 0.0, 0.13):
            pen.limb([(0.25 * s, 0.86), (0.25 * s + toe, 0.97)], (0.08, 0.1), c.main, ink=0.6)
        pen.oval(0.42 * s, -0.62, 0.24, 0.24, c.main)
    pen.oval(0, -0.25, 0.72, 0.44, c.main)
    for x, y in rng.uniform((-0.4, -0.55), (0.4, -0.35), (5, 2)):
        pen.dot(x, y, 0.05, mix(c.main, c.dark, 0.45))
    for s in SIDES:
        pen.oval(0.42 * s, -0.64, 0.17, 0.17, c.accent, shade=0, ink=0.5)
        pen.oval(0.42 * s, -0.64, 0.13, 0.07, INK, shade=0, ink=0)
        pen.dot(0.38 * s, -0.69, 0.04, WHITE)
        pen.dot(0.08 * s, -0.3, 0.025)
    pen.line([(-0.56, -0.2), (-0.25, -0.03), (0, 0.01), (0.25, -0.03), (0.56, -0.2)], 0.045, c.dark)


def tree_frog(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """Seen from above, legs folded, round toe pads."""
    bend = rng.uniform(-0.08, 0.08)
    legs = (
        ((0.3, -0.25), (0.72, -0.12 + bend), (0.72, -0.55)),
        ((0.28, 0.5), (0.86, 0.22 - bend), (0.6, 0.86)),
    )
    for s in SIDES:
        for leg, width in zip(legs, (0.15, 0.24), strict=True):
            foot = np.array(leg[-1])
            for spread in (-0.16, 0.0, 0.16):
                toe = foot + (spread, -0.14 if width < 0.2 else 0.1)
                pen.limb([(foot[0] * s, foot[1]), (toe[0] * s, toe[1])], (0.06, 0.06), c.main, ink=0.7)
                pen.oval(toe[0] * s, toe[1], 0.065, 0.065, c.accent, shade=0.3, ink=0.7)
            pen.limb([(x * s, y) for x, y in leg], (width, width * 0.8, width * 0.5), c.main, smooth=False)
    pen.blob(symmetric([(0, -0.85), (0.36, -0.6), (0.42, -0.2), (0.3, 0.45), (0, 0.72)]), c.main)
    for s in SIDES:
        pen.line([(0.2 * s, -0.35), (0.24 * s, 0.1), (0.14 * s, 0.55)], 0.07, c.second)
        pen.oval(0.33 * s, -0.58, 0.16, 0.16, c.accent, shade=0.3)
        pen.oval(0.35 * s, -0.58, 0.05, 0.11, INK, shade=0, ink=0)
    for x, y in rng.uniform((-0.14, -0.3), (0.14, 0.45), (5, 2)):
        pen.dot(x, y, rng.uniform(0.03, 0.06), darken(c.main, 0.35))


def axolotl(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """Feathery gills, a finned tail to the left."""
    sway = rng.uniform(-0.25, 0.25)
    body = [(0.4, -0.1), (0, 0.06), (-0.4, 0.04), (-0.75, 0.04 + sway), (-1.0, -0.1 + sway)]
    pen.limb(body, (0.36, 0.4, 0.44, 0.4, 0.04), c.second)
    for x, y, turn in ((0.2, 0.25, 60), (-0.3, 0.3, 110), (0.1, -0.22, -70), (-0.36, -0.2, -115)):
        dx = np.cos(np.radians(turn)) * 0.28
        dy = np.sin(np.radians(turn)) * 0.28
        pen.limb([(x, y), (x + dx, y + dy)], (0.16, 0.12), c.main)
    pen.limb(body, (0.4, 0.42, 0.34, 0.16, 0.03), c.main)
    for s in SIDES:
        for root, reach in ((0.28, 70), (0.34, 98), (0.4, 126)):
            a = np.radians(reach)
            tip = (root + 0.1 + 0.48 * np.cos(a), -0.12 + s * (0.18 + 0.45 * np.sin(a)))
            pen.limb([(root + 0.1, -0.12 + 0.2 * s), tip], (0.12, 0.05), c.accent)
            for f in (0.4, 0.65, 0.9):
                x = root + 0.1 + (tip[0] - root - 0.1) * f
                y = -0.12 + 0.2 * s + (tip[1] + 0.12 - 0.2 * s) * f
                pen.line([(x - 0.07, y + 0.02 * s), (x + 0.07, y + 0.05 * s)], 0.035, c.accent)
    pen.blob(
        [(0.3, -0.42), (0.65, -0.46), (0.95, -0.3), (1.0, -0.1), (0.93, 0.12), (0.65, 0.24), (0.3, 0.18)],
        c.main,
    )
    for s in SIDES:
        pen.eye(0.72, -0.1 + 0.24 * s, 0.06)
        pen.oval(0.56, -0.1 + 0.22 * s, 0.07, 0.05, mix(c.accent, c.main, 0.3), shade=0, ink=0)
    pen.line([(0.9, -0.24), (0.85, -0.1), (0.89, 0.04)], 0.03, c.dark)


def newt(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """From above: a blunt head, a smooth spotted back, a crested tail."""
    curl = rng.choice(SIDES) * rng.uniform(0.5, 1.0)
    tail = [(0, 0.2), (0, 0.5), (-0.22 * curl, 0.76), (-0.5 * curl, 0.94)]
    pen.limb(tail, (0.32, 0.34, 0.34, 0.2, 0.03), c.second)
    pen.limb(tail, (0.3, 0.22, 0.15, 0.08, 0.02), c.main, ink=0)
    for s in SIDES:
        for y, knee, foot in ((-0.26, (0.44, -0.26), (0.6, -0.44)), (0.3, (0.44, 0.26), (0.6, 0.44))):
            pen.limb([(0.1 * s, y), (knee[0] * s, knee[1]), (foot[0] * s, foot[1])], (0.18, 0.16, 0.15), c.main)
    pen.blob(
        symmetric([(0, -1.0), (0.2, -0.92), (0.29, -0.68), (0.2, -0.42), (0.26, -0.05), (0.18, 0.34), (0, 0.46)]),
        c.main,
    )
    for s in SIDES:
        for y in np.linspace(-0.4, 0.36, 5) + rng.uniform(-0.03, 0.03, 5):
            pen.dot(0.11 * s, y, rng.uniform(0.04, 0.065), c.accent)
        pen.eye(0.2 * s, -0.76, 0.06)


def snake(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """Winding from the tail at the lower left up to the head."""
    knots = np.array(
        [
            (-0.95, 0.55),
            (-0.5, 0.8),
            (0.3, 0.82),
            (0.72, 0.6),
            (0.4, 0.28),
            (-0.3, 0.2),
            (-0.7, -0.12),
            (-0.42, -0.5),
            (0.1, -0.58),
            (0.5, -0.5),
        ]
    )
    knots[:-1] += rng.uniform(-0.07, 0.07, (9, 2))
    path = spline(knots, closed=False)
    pen.limb(path, (0.03, 0.16, 0.22, 0.27, 0.28, 0.25, 0.2), c.main, smooth=False)
    across = np.gradient(path, axis=0)[:, ::-1] * (-1, 1)
    across /= np.hypot(across[:, 0], across[:, 1])[:, None]
    for place in range(8, len(path) - 3, 5):
        reach = across[place] * 0.1 * min(1.0, 0.45 + place / 40)
        pen.line([path[place] - reach, path[place] + reach], 0.09, c.second)
    for fork in (-0.14, 0.0):
        pen.line([(0.8, -0.5), (0.93, -0.49), (1.03, -0.42 + fork)], 0.035, c.accent, smooth=False)
    pen.blob([(0.36, -0.6), (0.58, -0.7), (0.84, -0.58), (0.84, -0.42), (0.58, -0.3), (0.36, -0.4)], c.main)
    for s in SIDES:
        pen.eye(0.66, -0.5 + 0.12 * s, 0.06)


def lizard(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """From above, the head up, the tail curled."""
    curl = rng.choice(SIDES) * rng.uniform(0.6, 1.0)
    pen.limb(
        [(0, 0.2), (0, 0.5), (0.2 * curl, 0.78), (0.52 * curl, 0.88), (0.7 * curl, 0.68)],
        (0.3, 0.24, 0.16, 0.1, 0.03),
        c.main,
    )
    for s in SIDES:
        for y, knee, foot in ((-0.22, (0.42, -0.16), (0.56, -0.46)), (0.28, (0.44, 0.2), (0.56, 0.54))):
            for spread in (-0.1, 0.0, 0.1):
                toe = (foot[0] + spread + 0.03, foot[1] + (-0.12 if y < 0 else 0.12))
                pen.limb([(foot[0] * s, foot[1]), (toe[0] * s, toe[1])], (0.055, 0.04), c.main, ink=0.7)
            pen.limb(
                [(0.1 * s, y), (knee[0] * s, knee[1]), (foot[0] * s, foot[1])],
                (0.17, 0.14, 0.1),
                c.main,
                smooth=False,
            )
    pen.blob(symmetric([(0, -0.5), (0.2, -0.34), (0.26, -0.02), (0.18, 0.34), (0, 0.46)]), c.main)
    pen.blob(symmetric([(0, -1.0), (0.15, -0.84), (0.25, -0.62), (0.16, -0.42)]), c.main)
    for y in np.linspace(-0.36, 0.4, 6):
        pen.line([(-0.13, y - 0.04), (0, y + 0.03), (0.13, y - 0.04)], 0.055, c.second)
    for s in SIDES:
        pen.eye(0.16 * s, -0.72, 0.06)


def turtle(pen: Pen, c: Scheme, rng: np.random.Generator) -> None:
    """From above, the head up, swimming."""
    paddle = rng.uniform(-0.12, 0.12)
    pen.polygon([(-0.08, 0.6), (0.08, 0.6), (0, 0.92)], c.second)
    for s in SIDES:
        pen.blob(
            [
                (0.3 * s, -0.42),
                (0.66 * s, -0.66 + paddle),
                (0.98 * s, -0.42 + 2 * paddle),
                (0.68 * s, -0.36 + paddle),
                (0.42 * s, -0.12),
            ],
            c.second,
        )
        pen.blob(
            [(0.3 * s, 0.4), (0.6 * s, 0.56 - paddle), (0.68 * s, 0.86), (0.4 * s, 0.74), (0.2 * s, 0.6)],
            c.second,
        )
    pen.blob(symmetric([(0, -1.0), (0.2, -0.88), (0.2, -0.58)]), c.second)
    for s in SIDES:
        pen.eye(0.12 * s, -0.86, 0.05)
    pen.blob(symmetric([(0, -0.68), (0.42, -0.52), (0.6, -0.05), (0.45, 0.45), (0, 0.7)]), c.main)
    for s in SIDES:
        for y in (-0.3, 0.05, 0.38):
            pen.polygon(
                (ring(6, 0.14, 30) * (0.9, 1.1) + (0.33 * s, y - 0.02)) * (1 - 0.1 * abs(y), 1),
                mix(c.main, c.dark, 0.3),
                0.4,
                ink=0,
            )
    for y in (-0.4, -0.06, 0.3):
        pen.polygon(ring(6, 0.17, 0) + (0, y), mix(c.main, c.dark, 0.45), 0.5, ink=0)
