"""Explanations of a model: filters, feature maps, top activating patches and images, gradients and attributions."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from keras_inat.explain.attribution import EDGES, RANDOM, DeletionInsertion
from keras_inat.explain.filters import FilterExplanation
from keras_inat.explain.guided_backpropagation import LEGEND, NeuronExplanation
from keras_inat.plotting import WIDTH, new_figure
from keras_inat.reporting.charts.images import choose_grid, draw_grid, join_tiles, scale_gradient, scale_pixels
from keras_inat.style import CYCLE, MUTED, clip

MAX_MAPS = 64
CONTROLS = {EDGES: "--", RANDOM: ":"}


def draw_first_layer_filters(filters: np.ndarray) -> Figure:
    """Draws the kernels `(filters, height, width, 3)` of the first convolution as one grid, all on the same scale."""
    count, height, width, _ = filters.shape
    rows, columns = choose_grid(count)
    side = min(0.72 * WIDTH / columns, 1.5)
    scale = float(np.abs(filters).max()) or 1.0
    caption = (
        f"All filters share one scale: mid-gray is a weight of 0, full red, green or blue is +{scale:.2g}, and its "
        f"absence is −{scale:.2g}. Numbers: index of the first filter of each row."
    )
    figure = _new_picture(side * rows * height / width + 1.15, caption, 88, width=0.8 * WIDTH)
    axes = figure.subplots()
    zoom = max(1, 24 // max(height, width))
    gap = max(1, zoom // 3)
    axes.imshow(join_tiles(0.5 + filters / (2 * scale), rows, columns, gap, zoom), interpolation="nearest")
    middles = [row * (height * zoom + gap) + height * zoom / 2 for row in range(rows)]
    axes.set_yticks(middles, [str(row * columns) for row in range(rows)])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], title=f"First convolution: {count} filter{'s' * (count > 1)} of {height} × {width} × 3")
    return figure


def draw_feature_maps(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> Figure:
    """Draws an image `(height, width, 3)` and the first feature maps `(rows, columns, filters)` of each layer."""
    grids = [choose_grid(min(MAX_MAPS, values.shape[-1])) for values in maps.values()]
    # Each row has two cells. The first cell holds the image. A row is as high as the higher of its grids.
    ratios = [0.0] + [rows / columns for rows, columns in grids]
    heights = [max(ratios[start : start + 2]) for start in range(0, len(ratios), 2)]
    caption = (
        "One tile per filter, by index, from left to right and row by row. Each layer has its own scale: dark violet "
        "is the smallest activation, yellow the value in the title (99.5th percentile) or more."
    )
    figure = _new_picture(sum(0.47 * WIDTH * height + 0.45 for height in heights) + 0.7, caption)
    cells = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights).ravel()
    cells[-1].set_axis_off()  # it may be empty
    _show(cells[0], scale_pixels(image), f"input image, {image.shape[0]} × {image.shape[1]}")
    for axes, (name, values), (rows, columns) in zip(cells[1:], maps.items(), grids, strict=False):
        height, width, num_filters = values.shape
        count = min(rows * columns, num_filters)
        top = float(np.percentile(values, 99.5)) or 1.0
        zoom = max(1, 64 // max(height, width))
        tiles = np.moveaxis(values, -1, 0)[:count, ..., None]
        mosaic = join_tiles(tiles, rows, columns, max(1, height * zoom // 24), zoom, blank=np.nan)
        shown = f"{count}" if count == num_filters else f"first {count} of {num_filters}"
        title = f"{name}: {height} × {width}, {shown} filters, up to {top:.2g}"
        _show(axes, mosaic[..., 0], title, "antialiased", vmin=min(0.0, float(values.min())), vmax=top)
    return figure


def draw_top_patches(explanations: Sequence[FilterExplanation]) -> Figure:
    """Draws the synthetic image and the top activating patches of each filter."""
    columns = ["synthetic\nimage", *(f"patch {index + 1}" for index in range(len(explanations[0].patches)))]
    rows = []
    for explanation in explanations:
        side = len(explanation.synthetic)
        label = f"{clip(explanation.layer, 19)}\nfilter {explanation.filter}\nfield {side} × {side}"
        label += f"\n{explanation.activations[0]:.2g} to {explanation.activations[-1]:.2g}"
        contrast = scale_gradient(explanation.synthetic - 127.5)
        rows.append((label, [contrast, *map(scale_pixels, explanation.patches)]))
    caption = (
        "Left: synthetic image that maximizes the filter's activation (activation maximization from noise, contrast "
        "increased). Right: the patches with the highest activation, one per image. They are as large as the filter's "
        "receptive field (“field”, in pixels). Last line of a label: activation for the first and the last patch. The "
        "filters are drawn at random from those that are active on any image."
    )
    title = "Activation maximization and top activating patches, stage by stage"
    return draw_grid(title, columns, rows, caption, group=1)


def draw_neurons(images: np.ndarray, neurons: Sequence[NeuronExplanation], class_names: Sequence[str]) -> Figure:
    """Draws the top activating images of each neuron, of `(images, height, width, 3)`, and their guided gradients."""
    columns = []
    for number in range(1, len(neurons[0].images) + 1):
        columns += [f"image {number}", "guided"]
    rows = []
    for neuron in neurons:
        label = f"filter {neuron.filter}\nrow {neuron.row}, column {neuron.column}"
        label += f"\n{neuron.activations[0]:.2f} to {neuron.activations[-1]:.2f}"
        label += f"\n{clip(class_names[neuron.preferred_class], 18)}\nselectivity {neuron.selectivity:.2f}"
        pictures = []
        for index, gradient in zip(neuron.images, neuron.gradients, strict=True):
            pictures += [scale_pixels(images[index]), scale_gradient(gradient)]
        rows.append((label, pictures))
    caption = (
        "The images with the highest activation of each neuron. Label: activation for the first and the last. Class: "
        "the one with the highest mean activation. Selectivity: 1 if the neuron is active for this class only, 0 if it "
        f"is equally active for all. {LEGEND}"
    )
    title = f"Top activating images of {len(neurons)} neurons of {neurons[0].layer}"
    return draw_grid(title, columns, rows, caption, group=2)


def draw_guided_predictions(images: np.ndarray, gradients: np.ndarray, titles: Sequence[str]) -> Figure:
    """Draws images `(images, height, width, 3)` with the guided gradients of their predicted classes."""
    num_rows = math.ceil(len(images) / 2)
    figure = _new_picture(2.5 * num_rows + 1.0, LEGEND)
    cells = figure.subplots(num_rows, 2, squeeze=False).ravel()
    cells[-1].set_axis_off()  # it may be empty
    for axes, image, gradient, title in zip(cells, images, gradients, titles, strict=False):
        pair = np.stack([scale_pixels(image), scale_gradient(gradient)])
        _show(axes, join_tiles(pair, 1, 2, max(1, pair.shape[1] // 24)), title)
    return figure


def draw_deletion_insertion(curves: Mapping[str, DeletionInsertion]) -> Figure:
    """Draws the mean probability of the explained class during deletion (left) and insertion (right)."""
    figure = _new_picture(4.4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, better in zip(panels, ("deletion", "insertion"), ("fall", "rise"), strict=True):
        for index, (name, curve) in enumerate(curves.items()):
            color = MUTED if name in CONTROLS else CYCLE[index % len(CYCLE)]
            mean = getattr(curve, key).mean(axis=0)
            axes.plot(np.linspace(0, 1, len(mean)), mean, label=name, lw=1.8, color=color, ls=CONTROLS.get(name, "-"))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set(title=f"{key}: a faster {better} is better", xlabel="pixels, most important first")
    panels[0].set(ylim=(0, 1), ylabel="probability of the class")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _new_picture(height: float, caption: str = "", length: int = 116, width: float = WIDTH) -> Figure:
    """Returns an empty figure with a caption at the bottom, in lines of at most `length` characters."""
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)  # inches
    if caption:
        figure.supxlabel(textwrap.fill(caption, length), fontsize=9, color=MUTED)
    return figure


def _show(axes: Axes, picture: np.ndarray, title: str, interpolation: str = "nearest", **limits: Any) -> None:
    axes.imshow(picture, interpolation=interpolation, **limits)
    axes.set_title(title)
    axes.set_axis_off()
