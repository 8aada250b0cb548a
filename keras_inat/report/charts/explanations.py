"""Pictures of filters, feature maps, guided gradients and other explanations, each readable on its own."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from keras_inat.explain.fidelity import NUM_STEPS, Fidelity
from keras_inat.explain.guided import CAVEAT, NeuronExplanation
from keras_inat.explain.preferences import Preference
from keras_inat.plotting import ACCENT, CYCLE, INK, MUTED, clip
from keras_inat.report.charts.tiles import (
    WIDTH,
    arrange,
    as_pixels,
    draw_grid,
    new_picture,
    number_tiles,
    scale_gradient,
    stretch,
    tile,
    write_caption,
)

MAX_MAPS = 64
NUM_BARS = 5
MAX_NAME = 22
CONTROLS = {"Edges of the image": "--", "At random": ":"}
LEGEND = "Grey: the pixel does not matter; brighter or darker: more or less of that colour raises what is explained."


def draw_filters(filters: np.ndarray, ordered_by: str = "index") -> Figure:
    """Draws the kernels of a first convolution as one grid, all on the same scale.

    Args:
        filters: `(filters, height, width, 3)` float, as `read_first_filters` gives them.
        ordered_by: What their order is, as `order_filters` has it, for the caption.
    """
    count, height, width, _ = filters.shape
    rows, columns = arrange(count)
    side = min(0.72 * WIDTH / columns, 1.5)
    figure = new_picture(side * rows * height / width + 1.15, width=0.8 * WIDTH)
    axes = figure.subplots()
    scale = float(np.abs(filters).max()) or 1.0
    zoom = max(1, 24 // max(height, width))
    tiles = (0.5 + filters / (2 * scale)).repeat(zoom, axis=1).repeat(zoom, axis=2)
    axes.imshow(tile(tiles, rows, columns, gap=max(1, zoom // 3)), interpolation="nearest")
    number_tiles(axes, tiles, rows, columns, gap=max(1, zoom // 3))
    if ordered_by != "index":
        axes.set_yticks([])
    axes.set_title(f"First convolution: {count} filter{'s' * (count > 1)} of {height} × {width} × 3")
    write_caption(
        figure,
        f"One scale for all: mid-grey is a weight of 0, a full red, green or blue one of +{scale:.2g}, none of it "
        f"−{scale:.2g}. {_explain_order(ordered_by)}",
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
    figure = new_picture(sum(0.47 * WIDTH * height + 0.45 for height in heights) + 0.7)
    cells = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights).ravel()
    for axes in cells:
        axes.set_axis_off()
    cells[0].imshow(as_pixels(image), interpolation="nearest")
    cells[0].set_title(f"the image, {image.shape[0]} × {image.shape[1]}")
    for axes, (name, values), (rows, columns) in zip(cells[1:], maps.items(), shapes, strict=False):
        count = min(rows * columns, values.shape[-1])
        top = float(np.percentile(values, 99.5)) or 1.0
        zoom = max(1, 64 // max(values.shape[:2]))
        tiles = np.moveaxis(values, -1, 0)[:count].repeat(zoom, axis=1).repeat(zoom, axis=2)
        mosaic = tile(tiles[..., None], rows, columns, gap=max(1, tiles.shape[1] // 24), blank=np.nan)
        axes.imshow(mosaic[..., 0], cmap="viridis", vmin=min(0.0, float(values.min())), vmax=top)
        shown = f"{count}" if count >= values.shape[-1] else f"first {count} of {values.shape[-1]}"
        axes.set_title(f"{name}: {values.shape[0]} × {values.shape[1]}, {shown} filters, up to {top:.2g}")
    write_caption(
        figure,
        "A small picture a filter, index increasing from left to right, row by row. One scale a layer: dark violet is "
        "the smallest activation, yellow the value in its title (99.5th percentile) and more.",
    )
    return figure


def draw_preferences(preferences: Sequence[Preference]) -> Figure:
    """Draws, filter by filter, the image made to excite it and the patches of real images that do."""
    columns = ["made to\nexcite it", *(f"patch {place}" for place in range(1, 1 + len(preferences[0].patches)))]
    rows = [
        (
            f"{clip(filter_.layer, 19)}\nfilter {filter_.filter}\nsees {filter_.side} × {filter_.side}\n"
            f"{filter_.activations[0]:.2g} to {filter_.activations[-1]:.2g}",
            [stretch(filter_.synthetic), *map(as_pixels, filter_.patches)],
        )
        for filter_ in preferences
    ]
    return draw_grid(
        "What filters look for, stage by stage",
        columns,
        rows,
        "Left: an image made from noise to excite the filter everywhere (activation maximisation), its contrast "
        "stretched. Then the patches that excite it most, one an image, as large as what one of its neurons sees, in "
        "pixels; last line of the label: its activation for the first and the last. Filters drawn at random from those "
        "that any image excites.",
        group=1,
    )


def draw_neurons(
    images: np.ndarray, explanations: Sequence[NeuronExplanation], class_names: Sequence[str] = ()
) -> Figure:
    """Draws, neuron by neuron, the images that excite it most, each beside its guided gradient.

    Args:
        images: `(images, height, width, 3)` in [0, 255], those that were given to `explain_neurons`.
        explanations: What it gave back.
        class_names: Of the labels, where these were given.
    """
    if not explanations:
        figure = new_picture(1.0)
        figure.suptitle("No neuron of the last convolution is active on these images")
        return figure
    rows = []
    for neuron in explanations:
        label = f"filter {neuron.filter}\nrow {neuron.row}, column {neuron.column}"
        label += f"\n{neuron.activations[0]:.2f} to {neuron.activations[-1]:.2f}"
        if neuron.preferred is not None and class_names:
            label += f"\n{clip(class_names[neuron.preferred], 18)}\nselectivity {neuron.selectivity:.2f}"
        pairs = [
            (as_pixels(images[index]), scale_gradient(gradient))
            for index, gradient in zip(neuron.images, neuron.gradients, strict=True)
        ]
        rows.append((label, [picture for pair in pairs for picture in pair]))
    columns = [name for place in range(len(explanations[0].images)) for name in (f"image {place + 1}", "guided")]
    words = (
        "A class name: the one that excites the neuron most on average; selectivity 1: it alone does, 0: all do alike. "
        if class_names
        else ""
    )
    return draw_grid(
        f"What excites {len(explanations)} neurons of {explanations[0].layer}",
        columns,
        rows,
        "The images that excite each neuron most, with its activation for the first and the last. "
        f"{words}{LEGEND} {CAVEAT}",
        group=2,
    )


def draw_guided_predictions(images: np.ndarray, gradients: np.ndarray, titles: Sequence[str]) -> Figure:
    """Draws images beside the guided gradients of their predicted classes, two pairs in a row.

    Args:
        images: `(images, height, width, 3)` in [0, 255].
        gradients: The same shape, as `explain_predictions` gives them.
        titles: A few words on each image.
    """
    num_rows = max(1, math.ceil(len(images) / 2))
    figure = new_picture(2.5 * num_rows + 1.0)
    cells = figure.subplots(num_rows, 2, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, image, gradient, title in zip(cells, images, gradients, titles, strict=False):
        pair = np.stack([as_pixels(image), scale_gradient(gradient)])
        axes.imshow(tile(pair, 1, 2, gap=max(1, pair.shape[1] // 24)), interpolation="nearest")
        axes.set_title(title)
    write_caption(figure, f"{LEGEND} {CAVEAT}")
    return figure


def draw_fidelity(curves: Mapping[str, Fidelity]) -> Figure:
    """Draws the mean probability of the explained class while pixels go (left) and come back (right)."""
    figure = new_picture(4.4)
    panels = figure.subplots(1, 2, sharey=True)
    parts = np.linspace(0, 1, NUM_STEPS + 1)
    for index, (name, fidelity) in enumerate(curves.items()):
        control = name in CONTROLS
        look = {"color": MUTED if control else CYCLE[index % len(CYCLE)], "ls": CONTROLS.get(name, "-")}
        for axes, values in zip(panels, (fidelity.deletion, fidelity.insertion), strict=True):
            axes.plot(parts, values.mean(axis=0), label=name, lw=1.8, **look)
    for axes, title in zip(
        panels, ("deletion: the faster it falls, the better", "insertion: the faster it rises, the better"), strict=True
    ):
        axes.set_title(title)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("pixels, most important first")
    panels[0].set_ylim(0, 1)
    panels[0].set_ylabel("probability of the class")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
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
    names = [clip(class_names[label], MAX_NAME) for label in best]
    figure = new_picture(4.0)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1])
    for axes, picture, title in (
        (left, as_pixels(image), "image"),
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
    write_caption(figure, f"{LEGEND} {CAVEAT}")
    return figure


def _explain_order(ordered_by: str) -> str:
    if ordered_by == "index":
        return "Numbers: index of the first filter of each row."
    return {"strength": "Strongest first.", "similarity": "Neighbours are alike."}[ordered_by]
