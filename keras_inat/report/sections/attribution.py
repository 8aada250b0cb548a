"""Attribution of a model's predictions: guided backpropagation and other methods, and their evaluation.

Imports of `keras_inat.explain` are local: a page without models needs no TensorFlow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_inat import plotting
from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Prose, Table
from keras_inat.report.formatting import SPACE, percent, plural
from keras_inat.report.sections.explained_model import ExplainedModel
from keras_inat.report.statistics.estimates import Estimate, correlate_ranks, estimate_mean

NUM_GUIDED = 10
NUM_SCORED = 12
NUM_ROWS = 6
GUIDED = "Guided backpropagation"
GUIDED_GRAD_CAM = "Guided Grad-CAM"
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
class ScoredImages:
    """The validation images on which the attribution methods are evaluated."""

    pixels: np.ndarray  # `(images, height, width, 3)` uint8
    labels: np.ndarray  # `(images,)` int64
    predicted: np.ndarray  # `(images,)` int64, the predicted classes, which are explained
    confidence: np.ndarray  # `(images,)` float32, their probabilities


def show_guided_predictions(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the guided gradients of the predicted classes of the first examples."""
    from keras_inat.explain.guided_backpropagation import explain_predictions
    from keras_inat.report.charts.explanations import draw_guided_predictions

    predictions = explained.predictions
    images = predictions.pixels[:NUM_GUIDED]
    titles = []
    for row in predictions.examples[:NUM_GUIDED]:
        true = plotting.clip(explained.run.data.classes[predictions.labels[row]], 18)
        predicted = plotting.clip(explained.run.data.classes[predictions.predicted[row]], 18)
        confidence = percent(float(predictions.probabilities[row].max()), 0)
        is_correct = predictions.correct[row]
        titles.append(f"✓ {true}, {confidence}" if is_correct else f"✗ {true}, predicted {predicted}, {confidence}")
    yield explained.add_figure(
        "guided-predictions",
        draw_guided_predictions(images, explain_predictions(explained.model, images), titles),
        f"{len(images)} test images, each beside the guided gradient of its predicted class.",
        f"The first {len(images)} of the random test images above, with the guided gradients of the predicted classes.",
    )


def show_attributions(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the attributions of several methods, and their deletion and insertion scores."""
    from keras_inat.explain.attribution import compute_attributions, compute_importance, randomize_weights
    from keras_inat.explain.deletion_insertion import compute_deletion_insertion
    from keras_inat.explain.guided_backpropagation import explain_predictions
    from keras_inat.report.charts.explanations import CONTROLS, draw_deletion_insertion
    from keras_inat.report.charts.images import draw_grid

    scored = _choose_images(explained)
    num_images = len(scored.pixels)
    attributions = compute_attributions(explained.model, scored.pixels, scored.predicted)
    maps = {name: compute_importance(name, attribution) for name, attribution in attributions.items()}
    control = explain_predictions(randomize_weights(explained.model), scored.pixels, scored.predicted)
    guided = attributions[GUIDED]
    rows = _build_rows(scored, [guided, control, attributions[GUIDED_GRAD_CAM]], maps, explained.run.data.classes)
    yield explained.add_figure(
        "attribution",
        draw_grid("Attribution of the predicted class by several methods", COLUMNS, rows, CAPTION),
        f"{len(rows)} validation images, each with seven attributions of its predicted class.",
        f"Random validation images. {_compare_with_shuffled(guided, control)}",
    )
    curves = compute_deletion_insertion(explained.model, scored.pixels, scored.predicted, maps)
    yield explained.add_figure(
        "deletion-insertion",
        draw_deletion_insertion(curves),
        "Probability of the predicted class during the deletion and the insertion of pixels, for each method.",
        f"Deletion and insertion on {num_images} validation images. Pixels are replaced by those of a blurred image, "
        "or put back into it, the most important first (Petsiuk et al. 2018).",
    )
    yield from compare_methods({name: curve.scores for name, curve in curves.items()}, CONTROLS)


def _choose_images(explained: ExplainedModel) -> ScoredImages:
    """Draws validation images and predicts their classes."""
    sample = explained.sample
    if len(sample.labels) < 2:
        raise ValueError("a single validation image is too few to compare attribution methods")
    rows = np.random.default_rng(1).permutation(len(sample.labels))[:NUM_SCORED]
    pixels = sample.pixels[rows]
    probabilities = np.asarray(explained.model(pixels.astype(np.float32), training=False), dtype=np.float32)
    return ScoredImages(pixels, sample.labels[rows], probabilities.argmax(axis=1), probabilities.max(axis=1))


def _build_rows(
    scored: ScoredImages, gradients: list[np.ndarray], maps: Mapping[str, np.ndarray], classes: Sequence[str]
) -> list[tuple[str, list[np.ndarray]]]:
    """Returns the label and the pictures of the first images."""
    from keras_inat.report.charts.images import overlay_heatmap, scale_gradient, scale_pixels

    rows = []
    for index, image in enumerate(scored.pixels[:NUM_ROWS]):
        mark = "✓" if scored.predicted[index] == scored.labels[index] else "✗"
        name = plotting.clip(classes[scored.predicted[index]], 16)
        label = f"{mark} {name}\n{percent(float(scored.confidence[index]), 0)}"
        pictures = [scale_pixels(image)]
        pictures += [scale_gradient(gradient[index]) for gradient in gradients]
        pictures += [overlay_heatmap(image, maps[method][index]) for method in HEATMAPS]
        rows.append((label, pictures))
    return rows


def _compare_with_shuffled(guided: np.ndarray, control: np.ndarray) -> str:
    """Returns a sentence on the rank correlation of guided gradients with those of shuffled weights."""
    correlations = []
    for gradient, other in zip(guided, control, strict=True):
        first = np.abs(gradient).sum(axis=-1).ravel()
        second = np.abs(other).sum(axis=-1).ravel()
        if np.ptp(first) and np.ptp(second):  # a constant has no correlation
            correlations.append(correlate_ranks(first, second).value)
    if len(correlations) < 2:
        return ""
    value, interval = formatting.correlation(estimate_mean(correlations, "images"))
    return (
        f"The sizes of the guided gradients and of those with shuffled weights have a rank correlation of {value} "
        f"(95 % interval {interval}, n = {len(correlations)} images). The closer it is to one, the less of the picture "
        "was learned."
    )


def compare_methods(scores: Mapping[str, np.ndarray], controls: Mapping[str, str]) -> Iterator[Block]:
    """Yields a table of the methods' scores, and the methods that are significantly better than a random order.

    Args:
        scores: Scores `(images,)` by method, with those of a random order.
        controls: The methods that do not use the model.
    """
    from keras_inat.explain.attribution import RANDOM

    differences = {name: _average(values - scores[RANDOM]) for name, values in scores.items() if name != RANDOM}
    methods = sorted(differences, key=lambda name: -differences[name].value)
    areas = {name: formatting.signed(float(values.mean()), 2) for name, values in scores.items()}
    rows = [[name, areas[name], *formatting.correlation(differences[name])] for name in methods]
    yield Table(
        "Area between the insertion and the deletion curve (larger is better), and its difference from a random order "
        f"of pixels; n{SPACE}={SPACE}{plural(len(scores[RANDOM]), 'image')}. The intervals are not simultaneous: one "
        "in twenty would exclude zero by chance.",
        "lrrr",
        ["method", "area", "difference", "95 % interval"],
        [*rows, [RANDOM, areas[RANDOM], "", ""]],
    )
    compared = [name for name in methods if name not in controls]
    better = [name for name in compared if differences[name].low > 0]
    others = [name for name in compared if name not in better]
    sentences = []
    if better:
        sentences.append(f"Significantly better than a random order: {', '.join(better)}.")
    if others:
        sentences.append(f"Not significant with so few images: {', '.join(others)}.")
    yield Prose(" ".join(sentences))


def _average(values: np.ndarray) -> Estimate:
    return estimate_mean([float(value) for value in values], "images")
