"""A pen for small illustrations: smooth shapes, tapered limbs, soft gouache shading.

Drawings are written in a unit frame (x to the right, y down, the subject within about -1..1) and the pen
carries them to pixels through an affine map, so that pose is nobody's business but the pen's. Standard
library, NumPy and Pillow only: worker processes start without loading TensorFlow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float] | np.ndarray] | np.ndarray

WHITE: Colour = (250, 246, 236)
INK: Colour = (38, 34, 44)
SIDES = (-1, 1)  # left and right, for what comes in pairs
SAMPLES = 7  # points drawn between two control points of a curve: no corner shows below 200 pixels


def colour(code: str) -> Colour:
    """Reads a colour such as `"c8553d"`."""
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def mix(a: Colour, b: Colour, amount: float) -> Colour:
    """Blends `a` towards `b`: `amount` 0 gives `a`, 1 gives `b`."""
    x, y, z = (min(255, max(0, round(p + (q - p) * amount))) for p, q in zip(a, b, strict=True))
    return x, y, z


def darken(a: Colour, amount: float) -> Colour:
    """Shades towards a warm violet instead of black, which keeps shadows from looking dirty."""
    return mix(a, (40, 26, 58), amount)


@dataclass(frozen=True)
class Scheme:
    """The colours of one subject: the body, its second colour, and the accent of its details."""

    main: Colour
    second: Colour
    accent: Colour

    @property
    def dark(self) -> Colour:
        return darken(self.main, 0.62)

    @property
    def light(self) -> Colour:
        return mix(self.main, WHITE, 0.72)


# One set for every class: colour says nothing about the class.
SCHEMES = tuple(
    Scheme(*(colour(code) for code in codes.split()))
    for codes in (
        "c8553d f2c48d 588b8b",
        "e09f3e fff3b0 9e2a2b",
        "6a994e d9e5a7 bc4749",
        "2f7f86 a8dadc f4a261",
        "5b7db1 d6e2f0 e9c46a",
        "7d4f73 e5b8c9 f2cc8f",
        "d98a94 fbe3dd 8c5471",
        "ecd9b4 b98b5e c8553d",
        "575f6e c4c9d1 e07a5f",
        "8b5e3c e3c39d d9a441",
        "98983f f0ead2 7f5539",
        "b5838d ffcdb2 6d6875",
        "3f6b5c b7d3b0 e9c46a",
        "f28f5b fde2c4 3d6b7d",
        "e8e4dc 8d99ae d98a94",
        "9a6fb0 e6d5ef 7fc29b",
    )
)


def ring(number: int, radius: float | np.ndarray = 1.0, turn: float = 0.0) -> np.ndarray:
    """Returns `number` points, float64 of shape `(number, 2)`, around the origin; `turn` in degrees."""
    angles = math.radians(turn) + np.arange(number) * (2 * math.pi / number)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radius, (-1, 1))


def symmetric(points: Points) -> np.ndarray:
    """Closes the right half of an outline with its mirror image; points on the axis are not repeated."""
    right = np.asarray(points, dtype=float)
    return np.concatenate([right, right[right[:, 0] != 0][::-1] * (-1, 1)])


def spline(points: Points, closed: bool) -> np.ndarray:
    """Passes a Catmull-Rom curve through `points`, of shape `(n, 2)`; returns float64 `(m, 2)`."""
    knots = np.asarray(points, dtype=float)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = (np.arange(SAMPLES) / SAMPLES)[None, :, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def _normals(pixels: np.ndarray, closed: bool) -> np.ndarray:
    """Unit normals of a polyline, `(n, 2)`."""
    ends = (pixels[-1:], pixels[:1]) if closed else (pixels[:1], pixels[-1:])
    padded = np.concatenate([ends[0], pixels, ends[1]])
    tangent = padded[2:] - padded[:-2]
    length = np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-6)[:, None]
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) / length


class Pen:
    """Draws shapes given in the unit frame onto an image.

    Args:
        image: the RGBA or RGB canvas; usually larger than the final picture, to be reduced afterwards.
        matrix: float `(2, 2)`, from the unit frame to pixels.
        origin: the pixel of the unit frame's origin.
        light: unit vector, in pixels, towards the light.
        ink: width of the outlines in pixels.
    """

    def __init__(
        self,
        image: Image.Image,
        matrix: np.ndarray,
        origin: tuple[float, float],
        light: tuple[float, float] = (-0.6, -0.8),
        ink: float = 2.0,
    ) -> None:
        self._draw = ImageDraw.Draw(image)
        self._matrix = matrix.T
        self._origin = np.asarray(origin, dtype=float)
        self._scale = math.sqrt(abs(float(np.linalg.det(matrix))))
        self._light = np.asarray(light, dtype=float)
        self._ink = ink

    def _pixels(self, points: Points) -> np.ndarray:
        return np.asarray(points, dtype=float) @ self._matrix + self._origin

    def _polygon(self, pixels: np.ndarray, fill: Colour, alpha: int = 255) -> None:
        self._draw.polygon(pixels.ravel().tolist(), fill=(*fill, alpha))

    def _area(self, pixels: np.ndarray, fill: Colour, shade: float, ink: float, alpha: int) -> None:
        """An outlined polygon; its light side is a smaller copy of itself, moved towards the light."""
        if ink:
            x, y = pixels[:, 0], pixels[:, 1]
            turn = 1.0 if x @ np.roll(y, -1) >= y @ np.roll(x, -1) else -1.0
            outer = pixels + _normals(pixels, closed=True) * (turn * ink * self._ink)
            self._polygon(outer, darken(fill, 0.5))
        if not shade:
            self._polygon(pixels, fill, alpha)
            return
        centre = pixels.mean(axis=0)
        inner = pixels - centre
        reach = float(np.abs(inner @ self._light).max())
        self._polygon(pixels, darken(fill, 0.3 * shade), alpha)
        for shrink, shift, tint in ((0.9, 0.08, 0.0), (0.62, 0.22, 0.16), (0.32, 0.36, 0.32)):
            self._polygon(
                inner * shrink + centre + self._light * (reach * shift), mix(fill, WHITE, tint * shade), alpha
            )

    def blob(self, points: Points, fill: Colour, shade: float = 1.0, ink: float = 1.0, alpha: int = 255) -> None:
        """Fills a smooth closed curve through `points`; `shade` 0 paints it flat, `ink` 0 without outline."""
        self._area(self._pixels(spline(points, closed=True)), fill, shade, ink, alpha)

    def polygon(self, points: Points, fill: Colour, shade: float = 0.0, ink: float = 1.0, alpha: int = 255) -> None:
        """Fills a shape with corners."""
        pixels = self._pixels(points)
        if ink:  # mitred corners would need care; a line of that width along the edge does not
            edge = [tuple(p) for p in np.concatenate([pixels, pixels[:2]]).tolist()]
            self._draw.line(
                edge, fill=(*darken(fill, 0.5), 255), width=max(1, round(2 * ink * self._ink)), joint="curve"
            )
        self._area(pixels, fill, shade, 0.0, alpha)

    def oval(
        self,
        x: float,
        y: float,
        width: float,
        height: float | None = None,
        fill: Colour = INK,
        turn: float = 0.0,
        shade: float = 1.0,
        ink: float = 1.0,
        alpha: int = 255,
    ) -> None:
        """Fills an ellipse by its centre and half axes; `turn` in degrees."""
        points = ring(28) * (width, width if height is None else height)
        if turn:
            c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            points = points @ np.array([[c, s], [-s, c]])
        self._area(self._pixels(points + (x, y)), fill, shade, ink, alpha)

    def dot(self, x: float, y: float, radius: float, fill: Colour = INK) -> None:
        """A small flat disc."""
        self.oval(x, y, radius, fill=fill, shade=0.0, ink=0.0)

    def limb(
        self,
        points: Points,
        widths: Sequence[float],
        fill: Colour,
        ink: float = 1.0,
        smooth: bool = True,
        alpha: int = 255,
    ) -> None:
        """A stroke along `points` with round ends; its width runs through `widths`, evenly spaced."""
        pixels = self._pixels(spline(points, closed=False) if smooth else points)
        places = np.linspace(0, len(widths) - 1, len(pixels))
        half = np.interp(places, np.arange(len(widths)), widths)[:, None] * (0.5 * self._scale)
        side = _normals(pixels, closed=False)
        passes = [(self._ink * ink, darken(fill, 0.5), 255)] if ink else []
        for extra, paint, opacity in (*passes, (0.0, fill, alpha)):
            reach = side * (half + extra)
            self._polygon(np.concatenate([pixels + reach, (pixels - reach)[::-1]]), paint, opacity)
            for (x, y), radius in ((pixels[0], half[0, 0] + extra), (pixels[-1], half[-1, 0] + extra)):
                if radius > 1:
                    self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*paint, opacity))

    def line(self, points: Points, width: float, fill: Colour = INK, smooth: bool = True) -> None:
        """A thin stroke without outline."""
        self.limb(points, (width, width), fill, ink=0.0, smooth=smooth)

    def eye(self, x: float, y: float, radius: float, iris: Colour | None = None) -> None:
        """A round eye with a glint; with `iris`, a coloured ring around the pupil."""
        if iris is not None:
            self.oval(x, y, radius, fill=iris, shade=0.0)
            radius *= 0.62
        self.dot(x, y, radius)
        self.dot(x - 0.3 * radius, y - 0.35 * radius, 0.34 * radius, WHITE)
