"""Pictures of filters, feature maps and guided gradients, each readable on its own."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inat.explain.guided import CAVEAT, NeuronExplanation
from keras_inat.plotting import ACCENT, INK, MUTED, new_figure

WIDTH = 10.0
MAX_MAPS = 64
NUM_BARS = 5
MAX_NAME = 22
LEGEND = "Grey: the pixel does not matter; brighter or darker: more or less of that colour raises what is explained."


def draw_filters(filters: np.ndarray) -> Figure:
    """Draws the kernels of a first convolution as one grid, all on the same scale.

    Args:
        filters: `(filters, height, width, 3)` float, as `read_first_filters` gives them.
    """
    count, height, width, _ = filters.shape
    rows, columns = arrange(count)
    side = min(0.72 * WIDTH / columns, 1.5)
    figure = _new_picture(side * rows * height / width + 1.15, width=0.8 * WIDTH)
    axes = figure.subplots()
    scale = float(np.abs(filters).max()) or 1.0
    zoom = max(1, 24 // max(height, width))
    tiles = (0.5 + filters / (2 * scale)).repeat(zoom, axis=1).repeat(zoom, axis=2)
    axes.imshow(_tile(tiles, rows, columns, gap=max(1, zoom // 3)), interpolation="nearest")
    _number_tiles(axes, tiles, rows, columns, gap=max(1, zoom // 3))
    axes.set_title(f"First convolution: {count} filter{'s' * (count > 1)} of {height} × {width} × 3")
    _write_caption(
        figure,
        f"One scale for all: mid-grey is a weight of 0, a full red, green or blue one of +{scale:.2g}, none of it "
        f"−{scale:.2g}. Numbers: index of the first filter of each row.",
        width=88,
    )
    return figure


def draw_feature_maps(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> Figure:
    """Draws an image and, layer by layer, what the network makes of it.

    Args:
        image: `(height, width, 3)` in [0, 255].
        maps: `(rows, columns, filters)` float by layer name, as `compute_feature_maps` gives them; of each layer the
            first 64 are drawn.
    """
    shapes = [arrange(min(MAX_MAPS, values.shape[-1])) for values in maps.values()]
    # Two cells a row, the image being the first; a row is as high as the higher of its grids.
    ratios = [0.0] + [rows / columns for rows, columns in shapes]
    heights = [max(ratios[start : start + 2]) for start in range(0, len(ratios), 2)]
    figure = _new_picture(sum(0.47 * WIDTH * height + 0.45 for height in heights) + 0.7)
    cells = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights).ravel()
    for axes in cells:
        axes.set_axis_off()
    cells[0].imshow(_as_pixels(image), interpolation="nearest")
    cells[0].set_title(f"the image, {image.shape[0]} × {image.shape[1]}")
    for axes, (name, values), (rows, columns) in zip(cells[1:], maps.items(), shapes, strict=False):
        count = rows * columns
        top = float(np.percentile(values, 99.5)) or 1.0
        zoom = max(1, 64 // max(values.shape[:2]))
        tiles = np.moveaxis(values, -1, 0)[:count].repeat(zoom, axis=1).repeat(zoom, axis=2)
        mosaic = _tile(tiles[..., None], rows, columns, gap=max(1, tiles.shape[1] // 24), blank=np.nan)
        axes.imshow(mosaic[..., 0], cmap="viridis", vmin=min(0.0, float(values.min())), vmax=top)
        shown = f"{count}" if count >= values.shape[-1] else f"first {count} of {values.shape[-1]}"
        axes.set_title(f"{name}: {values.shape[0]} × {values.shape[1]}, {shown} filters, up to {top:.2g}")
    _write_caption(
        figure,
        "A small picture a filter, index increasing from left to right, row by row. One scale a layer: dark violet is "
        "the smallest activation, yellow the value in its title (99.5th percentile) and more.",
    )
    return figure


def draw_neurons(images: np.ndarray, explanations: Sequence[NeuronExplanation]) -> Figure:
    """Draws, for each neuron, the image that excites it most beside its guided gradient.

    Args:
        images: `(images, height, width, 3)` in [0, 255], those that were given to `explain_neurons`.
        explanations: What it gave back.
    """
    num_rows = max(1, math.ceil(len(explanations) / 2))
    figure = _new_picture(2.5 * num_rows + 1.2)
    cells = figure.subplots(num_rows, 2, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    if not explanations:
        figure.suptitle("No neuron of the last convolution is active on these images")
        return figure
    for axes, neuron in zip(cells, explanations, strict=False):
        pair = np.stack([_as_pixels(images[neuron.image]), scale_gradient(neuron.gradient)])
        axes.imshow(_tile(pair, 1, 2, gap=max(1, pair.shape[1] // 24)), interpolation="nearest")
        axes.set_title(
            f"filter {neuron.filter}, row {neuron.row}, column {neuron.column}: activation {neuron.activation:.2f}"
        )
    figure.suptitle(f"What excites neurons of {explanations[0].layer}: image and guided gradient", fontsize=13)
    _write_caption(figure, f"{LEGEND} {CAVEAT}")
    return figure


def draw_prediction(
    image: np.ndarray, class_names: Sequence[str], probabilities: np.ndarray, gradient: np.ndarray
) -> Figure:
    """Draws an image, the guided gradient of its predicted class and the five most probable classes.

    Args:
        image: `(height, width, 3)` in [0, 255].
        class_names: In the order of the model's outputs.
        probabilities: `(classes,)` float in [0, 1].
        gradient: `(height, width, 3)` float, as `explain_predictions` gives it.
    """
    best = np.argsort(-probabilities, kind="stable")[:NUM_BARS]
    names = [_shorten(class_names[label]) for label in best]
    figure = _new_picture(4.0)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1])
    for axes, picture, title in (
        (left, _as_pixels(image), "image"),
        (middle, scale_gradient(gradient), f"what speaks for {names[0]}"),
    ):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    colors = [ACCENT] + [MUTED] * (len(best) - 1)
    bars = right.barh(range(len(best)), probabilities[best], color=colors, height=0.6)
    right.bar_label(bars, [f"{100 * probability:.1f} %" for probability in probabilities[best]], padding=4)
    right.set_yticks(range(len(best)), names, color=INK)
    right.invert_yaxis()
    right.set_xlim(0, 1.22)
    right.set_xticks([])
    right.grid(False)
    right.spines[["bottom", "left"]].set_visible(False)
    right.tick_params(left=False)
    right.set_box_aspect(1)
    right.set_title("probability")
    _write_caption(figure, f"{LEGEND} {CAVEAT}")
    return figure


def arrange(count: int) -> tuple[int, int]:
    """Rows and columns of a grid for `count` tiles: full and near square if possible, else square with blanks."""
    rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    if count <= 2 * rows**2:
        return rows, count // rows
    columns = math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


def scale_gradient(gradient: np.ndarray) -> np.ndarray:
    """Brings `(height, width, 3)` to [0, 1]: 0 becomes mid-grey, the 99th percentile of the size the extremes."""
    scale = float(np.percentile(np.abs(gradient), 99)) or float(np.abs(gradient).max()) or 1.0
    return np.clip(0.5 + gradient / (2 * scale), 0, 1)


def _new_picture(height: float, width: float = WIDTH) -> Figure:
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)  # inches
    return figure


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _as_pixels(image: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(image, dtype=np.float32) / 255, 0, 1)


def _tile(tiles: np.ndarray, rows: int, columns: int, gap: int, blank: float = 1.0) -> np.ndarray:
    """Lays `(count, height, width, channels)` out as one picture, which draws faster and sharper than as many axes."""
    count, height, width, channels = tiles.shape
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), blank, dtype=np.float32)
    for index in range(min(count, rows * columns)):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        canvas[top : top + height, left : left + width] = tiles[index]
    return canvas


def _number_tiles(axes: Axes, tiles: np.ndarray, rows: int, columns: int, gap: int) -> None:
    height = tiles.shape[1]
    middles = [row * (height + gap) + height / 2 for row in range(rows)]
    axes.set_yticks(middles, [str(row * columns) for row in range(rows)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _write_caption(figure: Figure, text: str, width: int = 116) -> None:
    figure.supxlabel(textwrap.fill(text, width), fontsize=9, color=MUTED)
