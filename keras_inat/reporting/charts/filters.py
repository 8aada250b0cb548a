"""Charts of filters: those of the first layer, feature maps, and top activating patches."""

import math
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from keras_inat.plotting import WIDTH, new_canvas
from keras_inat.reporting.charts.grids import (
    CAPTION_LENGTH,
    LABEL,
    LINE,
    GridRow,
    choose_strip,
    draw_caption,
    draw_grid,
    draw_label,
    join_tiles,
    place_picture,
    scale_pixels,
)
from keras_inat.reporting.formatting import MINUS
from keras_inat.reporting.statistics.explanations import COMPONENTS, measure_components
from keras_inat.store.explanations import FilterExplanation, StageMaps
from keras_inat.style import INK, MUTED, clip

PAIRS = 6  # of tiles in a row
PAIR_HEIGHT = 0.92  # inches
TILE = 0.6  # inches
SMOOTH_SIDE = 64  # pixels of a filter that is shown smoothly
MAP_COLORS = "magma"
MAP_SIDE = 48  # pixels of a feature map: at least


def draw_first_layer_filters(filters: np.ndarray) -> Figure:
    """Draws kernels `(filters, height, width, 3)` by type, each as its weights and enlarged smoothly."""
    components = measure_components(filters)
    kinds = np.where(components.sum(axis=1) > 0, components.argmax(axis=1), len(COMPONENTS))
    groups = []
    for kind, name in enumerate((*COMPONENTS, "no weights")):
        members = np.flatnonzero(kinds == kind)
        strongest = (filters[members] ** 2).sum(axis=(1, 2, 3))
        if len(members):
            groups.append((name, members[np.argsort(-strongest, kind="stable")]))
    groups.sort(key=lambda group: (group[0] == "no weights", -len(group[1])))
    caption = (
        "Left: the weights; mid-gray is 0, and all filters share one scale. Right: the same weights, enlarged smoothly "
        "with full contrast: the pattern that activates the filter most. From dark to light: an edge. Opposite colors: "
        "a change of color. One color: that color. Numbers: index of the filter. Strongest filters first."
    )
    lines = textwrap.wrap(caption, CAPTION_LENGTH)
    num_rows = sum(math.ceil(len(members) / PAIRS) for _, members in groups)
    height = num_rows * PAIR_HEIGHT + LINE * (len(lines) + 0.6)
    figure, axes = new_canvas(WIDTH, height)
    scale = float(np.abs(filters).max()) or 1.0
    pitch = (WIDTH - LABEL) / PAIRS
    y = 0.05
    for name, members in groups:
        draw_label(axes, f"{name}\n{len(members)} of {len(filters)}", y + TILE / 2)
        for position, index in enumerate(members):
            x = LABEL + position % PAIRS * pitch
            top = y + position // PAIRS * PAIR_HEIGHT
            place_picture(axes, 0.5 + filters[index] / (2 * scale), x, top, TILE, TILE)
            place_picture(axes, _enlarge(filters[index]), x + TILE + 0.05, top, TILE, TILE)
            axes.text(
                x + TILE + 0.025, top + TILE + 0.1, str(index), fontsize=7.5, color=MUTED, ha="center", va="center"
            )
        y += math.ceil(len(members) / PAIRS) * PAIR_HEIGHT
    draw_caption(axes, lines, height)
    return figure


def _enlarge(kernel: np.ndarray) -> np.ndarray:
    """Returns a kernel `(height, width, 3)`, enlarged by cubic splines, in [0, 1] with full contrast."""
    zoom = SMOOTH_SIDE / max(kernel.shape[:2])
    smooth = ndimage.zoom(kernel, (zoom, zoom, 1), order=3, mode="nearest", grid_mode=True)
    return np.clip(0.5 + smooth / (2 * (float(np.abs(smooth).max()) or 1.0)), 0, 1)


def draw_feature_maps(image: np.ndarray, stages: Sequence[StageMaps]) -> Figure:
    """Draws an image `(height, width, 3)` and a strip of feature maps for each stage."""
    left = 2.2
    width = WIDTH - left
    grids = [choose_strip(stage.maps.shape[-1]) for stage in stages]
    heights = []
    for stage, (rows, columns) in zip(stages, grids, strict=True):
        ratio = stage.maps.shape[0] / stage.maps.shape[1]
        heights.append(width * rows / max(columns, 6) * ratio)
    figure, axes = new_canvas(WIDTH, sum(heights) + 0.42 * len(stages) + 0.05)
    side = left - 0.35
    axes.text(0.05, 0.14, f"input image, {image.shape[0]} × {image.shape[1]}", fontsize=9, weight="bold", va="center")
    place_picture(axes, scale_pixels(image), 0.05, 0.3, side, side * image.shape[0] / image.shape[1])
    y = 0.3 + side * image.shape[0] / image.shape[1] + 0.2
    place_picture(axes, matplotlib.colormaps[MAP_COLORS](np.linspace(0, 1, 128)[None])[..., :3], 0.05, y, side, 0.14)
    axes.text(0.05, y + 0.26, "low activation", fontsize=8, color=MUTED, va="center")
    axes.text(0.05 + side, y + 0.26, "high", fontsize=8, color=MUTED, ha="right", va="center")
    y = 0.0
    for stage, (rows, columns), height in zip(stages, grids, heights, strict=True):
        shape = stage.maps.shape
        count = rows * columns
        values = np.moveaxis(stage.maps, -1, 0)[:count].astype(np.float32)
        low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
        zoom = math.ceil(MAP_SIDE / max(shape[:2]))
        mosaic = join_tiles(values[..., None], rows, columns, max(1, shape[1] * zoom // 16), zoom)[..., 0]
        scaled = np.clip((mosaic - low) / ((high - low) or 1.0), 0, 1)
        colors = matplotlib.colormaps[MAP_COLORS](np.ma.masked_invalid(scaled))
        colors[np.isnan(mosaic)] = 0  # transparent
        number = f"{count} of {stage.num_filters} filters" if count < stage.num_filters else f"{count} filters"
        silent = f", {stage.num_silent} uniform" if stage.num_silent else ""
        text = axes.text(left, y + 0.14, clip(stage.layer, 40), fontsize=9, weight="bold", color=INK, va="center")
        details = f"   {shape[0]} × {shape[1]}, {number}{silent}, {low:.2g} to {high:.2g}".replace("-", MINUS)
        axes.annotate(details, (1, 0.5), xycoords=text, fontsize=8.5, color=MUTED, va="center")
        strip = width * min(1, columns / 6)
        axes.imshow(colors, extent=(left, left + strip, y + 0.28 + height, y + 0.28), aspect="auto")
        y += height + 0.42
    return figure


def draw_top_patches(explanations: Sequence[FilterExplanation]) -> Figure:
    """Draws the top activating patches of each filter and, if they activate it more, its synthetic image."""
    has_synthetic = any(explanation.exceeds_patches for explanation in explanations)
    columns = [f"patch {index + 1}" for index in range(len(explanations[0].patches))]
    rows = []
    for explanation in explanations:
        side = len(explanation.synthetic)
        label = f"{clip(explanation.layer, 19)}\nfilter {explanation.filter}\nfield {side} × {side}"
        pictures: list[np.ndarray | None] = [scale_pixels(patch) for patch in explanation.patches]
        notes = [f"{value:.2f}" for value in explanation.preactivations]
        if has_synthetic:
            exceeds = explanation.exceeds_patches
            pictures.insert(0, scale_pixels(explanation.synthetic) if exceeds else None)
            notes.insert(0, f"{explanation.reached:.2f}" + ("" if exceeds else ": below the patches"))
        rows.append(GridRow(label, pictures, notes))
    synthetic = (
        "First column: synthetic image that maximizes the neuron in the middle of the map (activation maximization; "
        "Erhan et al. 2009, with the image as a spectrum of uncorrelated colors: Olah et al. 2017). "
    )
    caption = (
        f"{synthetic if has_synthetic else ''}Patches: the highest activation of each image, as large as the filter's "
        "receptive field (“field”, in pixels). Numbers: preactivation, before the activation function and its ceiling. "
        "The filters are drawn at random from those that are active on any image."
    )
    if not has_synthetic:
        return draw_grid(columns, rows, caption)
    return draw_grid(["synthetic", *columns], rows, caption)
