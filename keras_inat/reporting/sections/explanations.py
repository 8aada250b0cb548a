"""Explanations of a trained model: its filters and neurons, and the attribution of its predictions.

This module imports TensorFlow, which a page without models does not need. Import it only for a model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from keras_inat.explain import attribution, filters
from keras_inat.explain.attribution import RANDOM, compute_importance
from keras_inat.explain.guided_backpropagation import explain_neurons, explain_predictions
from keras_inat.intervals import correlate_ranks, estimate_mean
from keras_inat.reporting.blocks import Block, Picture, Prose, Table
from keras_inat.reporting.charts import explanations as charts
from keras_inat.reporting.charts.images import draw_grid, overlay_heatmap, scale_gradient, scale_pixels
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import SPACE, correlation, percent, plural, signed
from keras_inat.reporting.history import FinishedRun
from keras_inat.settings.schema import Report
from keras_inat.store.predictions import Predictions, ValidationSample
from keras_inat.style import clip

NUM_RANDOM_FILTERS = 2000
NUM_GUIDED = 10
NUM_SCORED = 12
NUM_ROWS = 6
GUIDED = "Guided backpropagation"
HEATMAPS = ("SmoothGrad", "Integrated gradients", "Grad-CAM", "Occlusion")
COLUMNS = (
    "image", "guided", "guided,\nshuffled\nweights", "Guided\nGrad-CAM", "SmoothGrad", "Integrated\ngradients",
    "Grad-CAM", "Occlusion",
)  # fmt: skip
CAPTION = (
    "Gray pictures: more or less of the color of a pixel raises the score of the class. SmoothGrad: the brighter a "
    "pixel, the more the score depends on it. The last three: the brighter a pixel, the more it raises the score. "
    "Third picture: guided gradients of the network after the values of each of its weights were shuffled. What it has "
    "in common with the second picture was not learned."
)


@dataclass(frozen=True)
class ExplainedModel:
    """A trained model with the images that explain it."""

    run: FinishedRun  # the run that trained it
    model: Any  # the Keras model
    predictions: Predictions  # its predictions on the test images
    sample: ValidationSample  # some validation images
    figures: FigureFolder  # the folder of the figures
    settings: Report  # the settings of the report

    def add_figure(self, name: str, figure: Any, alt: str, caption: str) -> Picture:
        """Writes a figure of this model and returns its block."""
        return self.figures.add(f"{self.run.command}-{name}", figure, alt, caption)


def show_first_layer_filters(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the weights of the first convolution, and the number of filters of each type."""
    kernels = filters.read_first_layer_filters(explained.model)
    yield explained.add_figure(
        "filters",
        partial(charts.draw_first_layer_filters, kernels),
        "The weights of the first convolution, one tile per filter.",
        "A tile with a gradient from dark to light detects edges across it. A tile with opposite colors detects a "
        "change of color. A tile of a single color detects that color.",
    )
    types = filters.count_filter_types(kernels)
    counts = ", ".join(f"{count} {name}" for name, count in types.items())
    without_weights = len(kernels) - sum(types.values())
    if without_weights:
        counts += f"; {without_weights} {'has' if without_weights == 1 else 'have'} no weights"
    random = np.random.default_rng(0).normal(size=(NUM_RANDOM_FILTERS, *kernels.shape[1:]))
    name, count = next(iter(filters.count_filter_types(random).items()))
    yield Prose(
        f"The {plural(len(kernels), 'filter')} by the component with most of their squared weights: {counts}. Of "
        f"{NUM_RANDOM_FILTERS:,} filters of this size with random weights, {percent(count / NUM_RANDOM_FILTERS, 0)} "
        f"are of the type {name}."
    )


def show_feature_maps(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the feature maps of the first example."""
    predictions = explained.predictions
    image = predictions.pixels[0]
    name = explained.run.data.classes[predictions.labels[predictions.examples[0]]]
    yield explained.add_figure(
        "feature-maps",
        partial(charts.draw_feature_maps, image, filters.compute_feature_maps(explained.model, image)),
        f"One test image ({name}) and its feature maps, block by block.",
        f"Feature maps of the first of the random test images above ({name}), block by block. Bright: high activation.",
    )


def show_top_patches(explained: ExplainedModel) -> Iterator[Block]:
    """Yields filters of every stage with their synthetic images and their top activating patches."""
    images = explained.sample.pixels
    active = filters.explain_filters(explained.model, images)
    if not active:
        raise ValueError(f"no filter is active on any of {len(images):,} validation images")
    yield explained.add_figure(
        "top-patches",
        partial(charts.draw_top_patches, active),
        f"For {len(active)} filters of all stages, a synthetic image that maximizes the activation and the top "
        "activating patches.",
        f"Filters of every stage with their top activating patches among {len(images):,} validation images. A filter "
        "detects what the patches of its row have in common.",
    )


def show_neurons(explained: ExplainedModel) -> Iterator[Block]:
    """Yields neurons of the last block with their top activating images and guided gradients."""
    images = explained.sample.pixels
    selective = explained.settings.neurons == "selective"
    neurons = explain_neurons(explained.model, images, explained.sample.labels, most_selective=selective)
    if not neurons:
        raise ValueError(f"no neuron of the last block is active on any of {len(images):,} validation images")
    choice = "the most selective ones, one per filter" if selective else "drawn at random from the active ones"
    number = plural(len(neurons), "neuron")
    yield explained.add_figure(
        "neurons",
        partial(charts.draw_neurons, images, neurons, explained.run.data.classes),
        f"{number} of the last block: top activating images and their guided gradients.",
        f"{number} of the last block, {choice}. For each neuron, the figure shows the {len(neurons[0].images)} of "
        f"{len(images):,} validation images with the highest activation, and the guided gradients of this activation.",
    )


def show_guided_predictions(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the guided gradients of the predicted classes of the first examples."""
    predictions = explained.predictions
    images = predictions.pixels[:NUM_GUIDED]
    titles = []
    for row in predictions.examples[:NUM_GUIDED]:
        true = clip(explained.run.data.classes[predictions.labels[row]], 18)
        predicted = clip(explained.run.data.classes[predictions.predicted[row]], 18)
        confidence = percent(float(predictions.probabilities[row].max()), 0)
        correct = predictions.correct[row]
        titles.append(f"✓ {true}, {confidence}" if correct else f"✗ {true}, predicted {predicted}, {confidence}")
    yield explained.add_figure(
        "guided-predictions",
        partial(charts.draw_guided_predictions, images, explain_predictions(explained.model, images), titles),
        f"{len(images)} test images, each beside the guided gradient of its predicted class.",
        f"The first {len(images)} of the random test images above, with the guided gradients of the predicted classes.",
    )


def show_attributions(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the attributions of several methods, and their deletion and insertion scores."""
    model = explained.model
    sample = explained.sample
    if len(sample.labels) < 2:
        raise ValueError("a single validation image is too few to compare attribution methods")
    chosen = np.random.default_rng(1).permutation(len(sample.labels))[:NUM_SCORED]
    images = sample.pixels[chosen]
    probabilities = np.asarray(model(images.astype(np.float32), training=False), dtype=np.float32)
    predicted = probabilities.argmax(axis=1)
    attributions = attribution.compute_attributions(model, images, predicted)
    maps = {name: compute_importance(name, values) for name, values in attributions.items()}
    control = explain_predictions(attribution.randomize_weights(model), images, predicted)
    gradients = [attributions[GUIDED], control, attributions["Guided Grad-CAM"]]
    rows = []
    for index, image in enumerate(images[:NUM_ROWS]):
        mark = "✓" if predicted[index] == sample.labels[chosen[index]] else "✗"
        name = clip(explained.run.data.classes[predicted[index]], 16)
        pictures = [scale_pixels(image)]
        pictures += [scale_gradient(gradient[index]) for gradient in gradients]
        pictures += [overlay_heatmap(image, maps[method][index]) for method in HEATMAPS]
        rows.append((f"{mark} {name}\n{percent(float(probabilities[index].max()), 0)}", pictures))
    yield explained.add_figure(
        "attribution",
        partial(draw_grid, "Attribution of the predicted class by several methods", COLUMNS, rows, CAPTION),
        f"{len(rows)} validation images, each with seven attributions of its predicted class.",
        f"Random validation images. {_compare_with_shuffled(maps[GUIDED], compute_importance(GUIDED, control))}",
    )
    curves = attribution.compute_deletion_insertion(model, images, predicted, maps)
    yield explained.add_figure(
        "deletion-insertion",
        partial(charts.draw_deletion_insertion, curves),
        "Probability of the predicted class during the deletion and the insertion of pixels, for each method.",
        f"Deletion and insertion on {len(images)} validation images. Pixels are replaced by those of a blurred image, "
        "or put back into it, the most important first (Petsiuk et al. 2018).",
    )
    yield from compare_methods({name: curve.scores for name, curve in curves.items()})


def _compare_with_shuffled(guided: np.ndarray, control: np.ndarray) -> str:
    """Returns a sentence on the rank correlation of guided gradients with those of shuffled weights."""
    correlations = []
    for first, second in zip(guided, control, strict=True):
        if np.ptp(first) and np.ptp(second):  # a constant has no correlation
            correlations.append(correlate_ranks(first.ravel(), second.ravel()).value)
    if len(correlations) < 2:
        return ""
    value, interval = correlation(estimate_mean(correlations, "images"))
    return (
        f"The sizes of the guided gradients and of those with shuffled weights have a rank correlation of {value} "
        f"(95 % interval {interval}, n = {len(correlations)} images). The closer it is to one, the less of the picture "
        "was learned."
    )


def compare_methods(scores: Mapping[str, np.ndarray]) -> Iterator[Block]:
    """Yields a table of scores `(images,)` by method, and the methods that are significantly better than `RANDOM`."""
    areas = {name: signed(float(values.mean()), 2) for name, values in scores.items()}
    differences = {name: estimate_mean((scores[name] - scores[RANDOM]).tolist(), "images") for name in scores}
    methods = sorted((name for name in scores if name != RANDOM), key=lambda name: -differences[name].value)
    rows = [[name, areas[name], *correlation(differences[name])] for name in methods]
    yield Table(
        "Area between the insertion and the deletion curve (larger is better), and its difference from a random order "
        f"of pixels; n{SPACE}={SPACE}{plural(len(scores[RANDOM]), 'image')}. The intervals are not simultaneous: one "
        "in twenty would exclude zero by chance.",
        "lrrr",
        ["method", "area", "difference", "95 % interval"],
        [*rows, [RANDOM, areas[RANDOM], "", ""]],
    )
    compared = [name for name in methods if name not in charts.CONTROLS]
    groups = {
        "Significantly better than a random order": [name for name in compared if differences[name].low > 0],
        "Not significant with so few images": [name for name in compared if differences[name].low <= 0],
    }
    yield Prose(" ".join(f"{title}: {', '.join(names)}." for title, names in groups.items() if names))


# The explanations in the order of the page, with True for those that need validation images.
EXPLANATIONS = {
    show_first_layer_filters: False,
    show_feature_maps: False,
    show_top_patches: True,
    show_neurons: True,
    show_guided_predictions: False,
    show_attributions: True,
}
