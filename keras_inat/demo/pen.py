"""A pen for small illustrations: smooth shapes, tapered limbs, soft shading.

Drawings are written in a unit frame: x points right, y points down, and the subject lies within about -1 and 1. The pen
maps the frame to pixels by an affine map, so that a drawing does not depend on its pose.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from keras_inat.demo.palette import INK, WHITE, Color, darken, mix

Points = Sequence[tuple[float, float] | np.ndarray] | np.ndarray

SIDES = (-1, 1)  # left and right, for pairs
SAMPLES = 7  # points drawn between two control points of a curve: no corner shows below 200 pixels


def ring(number: int, radius: float | np.ndarray = 1.0, turn: float = 0.0) -> np.ndarray:
    """Returns points on a circle around the origin, float64 `(number, 2)`. `turn` is in degrees."""
    angles = math.radians(turn) + np.arange(number) * (2 * math.pi / number)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radius, (-1, 1))


def symmetric(points: Points) -> np.ndarray:
    """Closes the right half of an outline with its mirror image. Points on the axis are not repeated."""
    right = np.asarray(points, dtype=float)
    return np.concatenate([right, right[right[:, 0] != 0][::-1] * (-1, 1)])


def spline(points: Points, closed: bool) -> np.ndarray:
    """Returns a Catmull-Rom curve, float64 `(m, 2)`, through `points` `(n, 2)`."""
    knots = np.asarray(points, dtype=float)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
    a = padded[:-3, None]
    b = padded[1:-2, None]
    c = padded[2:-1, None]
    d = padded[3:, None]
    t = (np.arange(SAMPLES) / SAMPLES)[None, :, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def _normals(pixels: np.ndarray, closed: bool) -> np.ndarray:
    """Returns the unit normals of a polyline, float64 `(n, 2)`."""
    before = pixels[-1:] if closed else pixels[:1]
    after = pixels[:1] if closed else pixels[-1:]
    padded = np.concatenate([before, pixels, after])
    tangent = padded[2:] - padded[:-2]
    length = np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-6)[:, None]
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) / length


class Pen:
    """Draws shapes given in the unit frame onto an image.

    Args:
        image: The RGBA or RGB canvas.
        matrix: The map from the unit frame to pixels, float `(2, 2)`.
        origin: The pixel of the unit frame's origin.
        light: The unit vector towards the light, in pixels.
        ink: The width of the outlines in pixels.
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

    def _polygon(self, pixels: np.ndarray, fill: Color, alpha: int = 255) -> None:
        self._draw.polygon(pixels.ravel().tolist(), fill=(*fill, alpha))

    def _area(self, pixels: np.ndarray, fill: Color, shade: float, ink: float, alpha: int) -> None:
        """Draws an outlined polygon. Smaller ones, moved towards the light, shade it."""
        if ink:
            x = pixels[:, 0]
            y = pixels[:, 1]
            turn = 1.0 if x @ np.roll(y, -1) >= y @ np.roll(x, -1) else -1.0
            outer = pixels + _normals(pixels, closed=True) * (turn * ink * self._ink)
            self._polygon(outer, darken(fill, 0.5))
        if not shade:
            self._polygon(pixels, fill, alpha)
            return
        center = pixels.mean(axis=0)
        inner = pixels - center
        reach = float(np.abs(inner @ self._light).max())
        self._polygon(pixels, darken(fill, 0.3 * shade), alpha)
        for shrink, shift, tint in ((0.9, 0.08, 0.0), (0.62, 0.22, 0.16), (0.32, 0.36, 0.32)):
            self._polygon(
                inner * shrink + center + self._light * (reach * shift), mix(fill, WHITE, tint * shade), alpha
            )

    def blob(self, points: Points, fill: Color, shade: float = 1.0, ink: float = 1.0, alpha: int = 255) -> None:
        """Fills a smooth closed curve through `points`. `shade` 0 paints it flat, `ink` 0 omits the outline."""
        self._area(self._pixels(spline(points, closed=True)), fill, shade, ink, alpha)

    def polygon(self, points: Points, fill: Color, shade: float = 0.0, ink: float = 1.0, alpha: int = 255) -> None:
        """Fills a polygon."""
        pixels = self._pixels(points)
        if ink:  # a wide line along the edge is simpler than mitered corners
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
        fill: Color = INK,
        turn: float = 0.0,
        shade: float = 1.0,
        ink: float = 1.0,
        alpha: int = 255,
    ) -> None:
        """Fills an ellipse, given its center and half axes. `turn` is in degrees."""
        points = ring(28) * (width, width if height is None else height)
        if turn:
            cosine = math.cos(math.radians(turn))
            sine = math.sin(math.radians(turn))
            points = points @ np.array([[cosine, sine], [-sine, cosine]])
        self._area(self._pixels(points + (x, y)), fill, shade, ink, alpha)

    def dot(self, x: float, y: float, radius: float, fill: Color = INK) -> None:
        """Fills a small flat disc."""
        self.oval(x, y, radius, fill=fill, shade=0.0, ink=0.0)

    def limb(
        self,
        points: Points,
        widths: Sequence[float],
        fill: Color,
        ink: float = 1.0,
        smooth: bool = True,
        alpha: int = 255,
    ) -> None:
        """Draws a stroke along `points` with round ends. Its width follows `widths`, evenly spaced."""
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

    def line(self, points: Points, width: float, fill: Color = INK, smooth: bool = True) -> None:
        """Draws a thin stroke without outline."""
        self.limb(points, (width, width), fill, ink=0.0, smooth=smooth)

    def eye(self, x: float, y: float, radius: float, iris: Color | None = None) -> None:
        """Draws a round eye with a highlight. `iris` adds a colored ring around the pupil."""
        if iris is not None:
            self.oval(x, y, radius, fill=iris, shade=0.0)
            radius *= 0.62
        self.dot(x, y, radius)
        self.dot(x - 0.3 * radius, y - 0.35 * radius, 0.34 * radius, WHITE)
