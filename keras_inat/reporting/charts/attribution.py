"""Charts of guided gradients, of neurons and of predictions, and of other attributions and their scores."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_inat.explain.prediction_maps import LEGEND
from keras_inat.plotting import WIDTH, new_figure, use_percent
from keras_inat.reporting.charts.grids import GridRow, draw_grid, overlay_heatmap, scale_gradient, scale_pixels
from keras_inat.store.explanations import EDGES, RANDOM, DeletionInsertion, NeuronExplanation
from keras_inat.style import CYCLE, GRAY, MUTED, clip

LINE_STYLES = {EDGES: "--", RANDOM: ":"}
COLUMNS = (
    "image", "guided", "guided, shuffled\nweights", "Guided\nGrad-CAM", "SmoothGrad", "Integrated\ngradients",
    "Grad-CAM", "Occlusion",
)  # fmt: skip
CAPTION = (
    "Gray pictures: more or less of the color of a pixel raises the score of the class. SmoothGrad: the brighter a "
    "pixel, the more the score depends on it. The last three: the brighter a pixel, the more it raises the score. "
    "Third picture: guided gradients of the network after the values of each of its weights were shuffled. What it has "
    "in common with the second picture was not learned."
)


def draw_neurons(
    pixels: np.ndarray, classes: Sequence[str], neurons: Sequence[NeuronExplanation], texts: Sequence[str]
) -> Figure:
    """Draws the top images of each neuron, neuron by neuron, with their classes and guided gradients.

    `pixels` are `(images, height, width, 3)` uint8. A neuron has a text of one line or more.
    """
    columns = []
    for number in range(1, len(neurons[0].images) + 1):
        columns += [f"image {number}", "guided"]
    rows = []
    remaining = iter(zip(pixels, classes, strict=True))
    for neuron, text in zip(neurons, texts, strict=True):
        pictures: list[np.ndarray | None] = []
        notes = []
        for gradient, preactivation in zip(neuron.gradients, neuron.preactivations, strict=True):
            image, name = next(remaining)
            pictures += [scale_pixels(image), scale_gradient(gradient)]
            notes += [clip(name, 14), f"{preactivation:.2f}"]
        rows.append(GridRow(f"{text}\nfilter {neuron.filter} at ({neuron.row}, {neuron.column})", pictures, notes))
    caption = (
        f"The images with the highest preactivation of each neuron of {neurons[0].layer}, with their classes; under "
        "the gradients, the preactivation. The class in a label is the one with the highest mean activation, and "
        "beneath it the number of these images that are of this class. Selectivity: 1 if the neuron is active for this "
        f"class only, 0 if it is equally active for all. (Row, column): place in the feature map. {LEGEND}"
    )
    return draw_grid(columns, rows, caption, group=2)


def draw_guided_predictions(images: np.ndarray, gradients: np.ndarray, titles: Sequence[str]) -> Figure:
    """Draws images `(height, width, 3)`, two in a row, with the guided gradients of their predicted classes."""
    num_columns = min(2, len(images))
    rows = []
    for start in range(0, len(images), num_columns):
        pictures: list[np.ndarray | None] = []
        for image, gradient in zip(images[start : start + 2], gradients[start : start + 2], strict=True):
            pictures += [scale_pixels(image), scale_gradient(gradient)]
        notes = [note for title in titles[start : start + 2] for note in (title, "")]
        rows.append(GridRow("", pictures, notes))
    return draw_grid(["image", "guided"] * num_columns, rows, LEGEND, group=2)


def draw_attributions(
    images: np.ndarray, gradients: Mapping[str, np.ndarray], heatmaps: Mapping[str, np.ndarray], titles: Sequence[str]
) -> Figure:
    """Draws images `(images, height, width, 3)`, each with its gradients and heatmaps by method."""
    rows = []
    for index, (image, title) in enumerate(zip(images, titles, strict=True)):
        pictures = [scale_pixels(image)]
        pictures += [scale_gradient(values[index]) for values in gradients.values()]
        pictures += [overlay_heatmap(image, values[index]) for values in heatmaps.values()]
        rows.append(GridRow(title, pictures))
    return draw_grid(COLUMNS, rows, CAPTION)


def draw_deletion_insertion(curves: Mapping[str, DeletionInsertion]) -> Figure:
    """Draws the mean probability of the explained class during deletion (left) and insertion (right)."""
    figure = new_figure(WIDTH, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    colors = [color for color in CYCLE if color != GRAY]  # the controls are gray
    for axes, key, better in zip(panels, ("deletion", "insertion"), ("fall", "rise"), strict=True):
        for index, (name, curve) in enumerate(curves.items()):
            color = MUTED if name in LINE_STYLES else colors[index % len(colors)]
            mean = getattr(curve, key).mean(axis=0)
            axes.plot(np.linspace(0, 1, len(mean)), mean, label=name, lw=1.8, color=color, ls=LINE_STYLES.get(name))
        use_percent(axes.xaxis)
        axes.set(title=f"{key}: a faster {better} is better", xlabel="pixels, most important first")
    panels[0].set(ylim=(0, 1), ylabel="probability of the class")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
