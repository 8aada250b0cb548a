"""Parts of the explanation charts: grids of tiles, color scales and captions."""

import math
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inat.plotting import MUTED, new_figure

# In inches.
WIDTH = 10.0
MARGIN = 0.1
LABEL = 1.32
GAP = 0.05
LINE = 0.17


def choose_grid(count: int) -> tuple[int, int]:
    """Returns the rows and columns of a grid for `count` tiles.

    The grid is full if that takes at most twice as many columns as rows. Otherwise it is square, with blanks.
    """
    rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    if count <= 2 * rows**2:
        return rows, count // rows
    columns = math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


def scale_gradient(gradient: np.ndarray) -> np.ndarray:
    """Scales `(height, width, 3)` to [0, 1]: 0 becomes mid-gray, the 99th percentile of the absolute values 0 or 1."""
    scale = float(np.percentile(np.abs(gradient), 99)) or float(np.abs(gradient).max()) or 1.0
    return np.clip(0.5 + gradient / (2 * scale), 0, 1)


def new_picture(height: float, width: float = WIDTH) -> Figure:
    """Returns an empty figure of a size in inches, with constrained layout."""
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)  # inches
    return figure


def scale_pixels(image: np.ndarray) -> np.ndarray:
    """Scales [0, 255] to [0, 1], float32."""
    return np.clip(np.asarray(image, dtype=np.float32) / 255, 0, 1)


def join_tiles(tiles: np.ndarray, rows: int, columns: int, gap: int, blank: float = 1.0) -> np.ndarray:
    """Joins `(count, height, width, channels)` to one picture, which is faster and sharper than one axes per tile."""
    count, height, width, channels = tiles.shape
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), blank, dtype=np.float32)
    for index in range(min(count, rows * columns)):
        row, column = divmod(index, columns)
        top = row * (height + gap)
        left = column * (width + gap)
        canvas[top : top + height, left : left + width] = tiles[index]
    return canvas


def number_tiles(axes: Axes, tiles: np.ndarray, rows: int, columns: int, gap: int) -> None:
    """Writes the index of the first tile of each row on the left."""
    height = tiles.shape[1]
    middles = [row * (height + gap) + height / 2 for row in range(rows)]
    axes.set_yticks(middles, [str(row * columns) for row in range(rows)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def write_caption(figure: Figure, text: str, width: int = 116) -> None:
    """Writes a caption at the bottom, in lines of at most `width` characters."""
    figure.supxlabel(textwrap.fill(text, width), fontsize=9, color=MUTED)


def draw_grid(
    title: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[np.ndarray | None]]],
    caption: str,
    group: int = 0,
) -> Figure:
    """Draws rows of pictures, each with a label on its left.

    Args:
        title: Title of the figure.
        columns: Titles of the columns.
        rows: Label, of one line or more, and pictures `(height, width)` or `(height, width, 3)` in [0, 1] of any size.
            None leaves a cell empty.
        caption: Text at the bottom.
        group: Number of columns between two gaps; 0: no gaps.
    """
    gaps = (len(columns) - 1) // group if group else 0
    cell = (WIDTH - LABEL - 2 * MARGIN - 2 * GAP * gaps) / len(columns)
    lines = textwrap.wrap(caption, 152)
    top = 0.42 + LINE * max(name.count("\n") + 1 for name in columns) + 0.08
    height = top + len(rows) * cell + 0.16 + LINE * len(lines)
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.text(MARGIN, 0.2, title, fontsize=13, va="center")
    lefts = []
    for index, name in enumerate(columns):
        left = LABEL + MARGIN + index * cell
        if group:
            left += 2 * GAP * (index // group)
        lefts.append(left)
        axes.text(left + (cell - GAP) / 2, top - 0.08, name, fontsize=9, ha="center", va="bottom")
    for number, (label, pictures) in enumerate(rows):
        y = top + number * cell
        axes.text(MARGIN, y + (cell - GAP) / 2, label, fontsize=8.5, va="center", linespacing=1.35)
        for left, picture in zip(lefts, pictures, strict=False):
            if picture is not None:
                small = max(picture.shape[:2]) < 160 * cell  # smaller than its size on the page: keep the pixels sharp
                axes.imshow(
                    picture, extent=(left, left + cell - GAP, y + cell - GAP, y), aspect="auto", vmin=0, vmax=1,
                    cmap="gray", interpolation="nearest" if small else "antialiased",
                )  # fmt: skip
    for number, line in enumerate(lines):
        axes.text(MARGIN, height - LINE * (len(lines) - number - 0.4), line, fontsize=9, color=MUTED, va="center")
    axes.set(xlim=(0, WIDTH), ylim=(height, 0), autoscale_on=False)
    return figure


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Overlays a heatmap on a gray image.

    The heatmap is transparent at zero and below, and yellow at the 99th percentile and above.

    Args:
        image: `(height, width, 3)` in [0, 255].
        heatmap: `(height, width)` float.

    Returns:
        `(height, width, 3)` float32 in [0, 1].
    """
    gray = np.repeat(scale_pixels(image).mean(axis=-1, keepdims=True), 3, axis=-1)
    positive = np.maximum(heatmap, 0)
    scale = float(np.percentile(positive, 99)) or float(positive.max()) or 1.0
    strength = np.clip(positive / scale, 0, 1)[..., None]
    colors = matplotlib.colormaps["inferno"](strength[..., 0])[..., :3]
    return np.asarray(gray * (1 - 0.75 * strength) * 0.9 + colors * 0.75 * strength, dtype=np.float32)


def maximize_contrast(picture: np.ndarray) -> np.ndarray:
    """Scales `(height, width, 3)` in [0, 255] to [0, 1] with full contrast around mid-gray."""
    deviation = np.asarray(picture, dtype=np.float32) - 127.5
    scale = float(np.percentile(np.abs(deviation), 99)) or 1.0
    return np.clip(0.5 + deviation / (2 * scale), 0, 1)
