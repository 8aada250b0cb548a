"""Grids of pictures with rounded corners, mosaics of tiles, and pictures made of pixels, gradients and heatmaps."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from keras_inat.plotting import WIDTH, new_canvas
from keras_inat.style import INK, MUTED

# In inches.
LABEL = 1.5
GAP = 0.07
LINE = 0.17
NOTE = 0.19
ROUNDING = 0.05  # radius of the corners
CAPTION_LENGTH = 150  # characters of a line
GAMMA = 0.7  # makes weak gradients visible


@dataclass(frozen=True)
class GridRow:
    """A row of a grid."""

    label: str  # one line or more; the first one is bold
    # `(height, width, 3)` in [0, 1] of any size. None leaves the place empty.
    pictures: Sequence[np.ndarray | None]
    notes: Sequence[str] = ()  # a short text under each picture


def draw_grid(columns: Sequence[str], rows: Sequence[GridRow], caption: str, group: int = 0) -> Figure:
    """Draws rows of pictures under the titles of their columns, with a gap after each `group` of columns if not 0."""
    gaps = [2 * GAP * (index // group) if group else 0.0 for index in range(len(columns))]
    pitch = (WIDTH - LABEL - gaps[-1] + GAP) / len(columns)
    side = pitch - GAP
    height_of_row = pitch + (NOTE if any(row.notes for row in rows) else 0.03)
    top = LINE * max(name.count("\n") + 1 for name in columns) + 0.12
    lines = textwrap.wrap(caption, CAPTION_LENGTH)
    height = top + len(rows) * height_of_row + LINE * (len(lines) + 0.6)
    figure, axes = new_canvas(WIDTH, height)
    lefts = [LABEL + index * pitch + gap for index, gap in enumerate(gaps)]
    for left, name in zip(lefts, columns, strict=True):
        axes.text(left + side / 2, top - 0.08, name, fontsize=9, color=MUTED, ha="center", va="bottom")
    for number, row in enumerate(rows):
        y = top + number * height_of_row
        draw_label(axes, row.label, y + side / 2)
        for index, (left, picture) in enumerate(zip(lefts, row.pictures, strict=False)):
            if picture is not None:
                place_picture(axes, picture, left, y, side, side)
            if row.notes:
                axes.text(
                    left + side / 2, y + side + 0.1, row.notes[index], fontsize=7.5, color=MUTED, ha="center",
                    va="center",
                )  # fmt: skip
    draw_caption(axes, lines, height)
    return figure


def draw_label(axes: Axes, label: str, middle: float) -> None:
    """Draws the lines of a label at the left, around a height in inches."""
    lines = label.split("\n")
    for number, line in enumerate(lines):
        weight = "normal" if number else "bold"
        y = middle + LINE * (number - (len(lines) - 1) / 2)
        axes.text(0.05, y, line, fontsize=8.5, color=MUTED if number else INK, weight=weight, va="center")


def draw_caption(axes: Axes, lines: Sequence[str], bottom: float) -> None:
    """Draws the lines of a caption above the lower edge of a canvas, which is at `bottom` inches."""
    for number, line in enumerate(lines):
        y = bottom - LINE * (len(lines) - number - 0.4)
        axes.text(0.05, y, line, fontsize=9, color=MUTED, va="center")


def place_picture(axes: Axes, picture: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    """Draws a picture with rounded corners. Its upper left corner is at `x`, `y` of a canvas."""
    image = axes.imshow(picture, extent=(x, x + width, y + height, y), aspect="auto", interpolation="nearest")
    radius = min(ROUNDING, height / 8)
    corners = f"round,pad={radius}"
    inner = (width - 2 * radius, height - 2 * radius)
    clip = FancyBboxPatch((x + radius, y + radius), *inner, boxstyle=corners, transform=axes.transData)
    image.set_clip_path(clip)


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Overlays a heatmap `(height, width)` on an image `(height, width, 3)` in [0, 255], made gray.

    The heatmap is transparent at zero and below, and yellow at the 99th percentile and above. The result is in [0, 1].
    """
    gray = scale_pixels(image).mean(axis=-1, keepdims=True)
    positive = np.maximum(heatmap, 0, dtype=np.float32)
    scale = float(np.percentile(positive, 99)) or float(positive.max()) or 1.0
    strength = np.clip(positive / scale, 0, 1)[..., None]
    colors = matplotlib.colormaps["inferno"](strength[..., 0])[..., :3]
    return np.asarray(gray * (1 - 0.75 * strength) * 0.9 + colors * 0.75 * strength, dtype=np.float32)


def scale_gradient(gradient: np.ndarray) -> np.ndarray:
    """Scales `(height, width, 3)` to [0, 1]: 0 becomes mid-gray, the 99th percentile of the absolute values 0 or 1.

    The distance from gray grows with the power `GAMMA` of the value.
    """
    values = np.asarray(gradient, dtype=np.float32)
    scale = float(np.percentile(np.abs(values), 99)) or float(np.abs(values).max()) or 1.0
    values = np.clip(values / scale, -1, 1)
    return 0.5 + np.sign(values) * np.abs(values) ** GAMMA / 2


def scale_pixels(image: np.ndarray) -> np.ndarray:
    """Scales [0, 255] to [0, 1], float32."""
    return np.clip(np.asarray(image, dtype=np.float32) / 255, 0, 1)


def choose_strip(count: int) -> tuple[int, int]:
    """Returns the rows and columns of a full grid, at most two rows of twelve, for at most `count` tiles."""
    rows = 2 if count >= 14 else 1
    return rows, min(12, count // rows)


def join_tiles(tiles: np.ndarray, rows: int, columns: int, gap: int, zoom: int = 1) -> np.ndarray:
    """Joins `(count, height, width, channels)` to one picture, which is faster and sharper than one axes per tile.

    What lies between the tiles is not a number, and so transparent.
    """
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    _, height, width, channels = tiles.shape
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), np.nan, np.float32)
    for index, tile in enumerate(tiles[: rows * columns]):
        top = index // columns * (height + gap)
        left = index % columns * (width + gap)
        canvas[top : top + height, left : left + width] = tile
    return canvas
