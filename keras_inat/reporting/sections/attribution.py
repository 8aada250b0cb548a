"""Attribution: guided gradients of predictions, and attribution methods compared with two controls."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from keras_inat.intervals import estimate_mean
from keras_inat.reporting.blocks import Block, Details, Prose, Table
from keras_inat.reporting.charts import attribution
from keras_inat.reporting.formatting import SPACE, correlation, join_words, percent, plural, signed
from keras_inat.reporting.sections.explained_model import ExplainedModel
from keras_inat.reporting.statistics import explanations as statistics
from keras_inat.store.explanations import EDGES, RANDOM
from keras_inat.style import clip

MAX_DEGENERATE = 0.5  # fraction of images for which the control may be degenerate


def describe_predictions(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the guided gradients of the predicted classes of the first examples."""
    predictions = explained.predictions
    gradients = explained.explanations.predictions
    assert gradients is not None
    images = predictions.pixels[: len(gradients)]
    titles = []
    for row in predictions.examples[: len(gradients)]:
        true = clip(explained.run.data.classes[predictions.labels[row]], 14)
        predicted = clip(explained.run.data.classes[predictions.predicted[row]], 14)
        confidence = percent(float(predictions.probabilities[row].max()), 0)
        correct = predictions.correct[row]
        titles.append(f"✓ {true} {confidence}" if correct else f"✗ {predicted} {confidence} ({true})")
    picture = explained.add_figure(
        "guided-predictions",
        partial(attribution.draw_guided_predictions, images, gradients, titles),
        f"{len(images)} test images, each beside the guided gradient of its predicted class.",
        f"The first {len(images)} of the random test images above, with the guided gradients of the predicted classes. "
        "In parentheses: the true class of a misclassified image.",
    )
    yield Details(f"Guided gradients of {len(images)} test images", [picture])


def describe_attributions(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the attributions of several methods, and their deletion and insertion scores."""
    attributions = explained.explanations.attributions
    assert attributions is not None
    assert explained.sample is not None
    chosen = attributions.images
    rows = len(next(iter(attributions.heatmaps.values())))
    titles = []
    for predicted, confidence, label in zip(
        attributions.predicted[:rows], attributions.confidences[:rows], explained.sample.labels[chosen[:rows]],
        strict=True,
    ):  # fmt: skip
        mark = "✓" if predicted == label else "✗"
        titles.append(f"{mark} {clip(explained.run.data.classes[predicted], 16)}\n{percent(float(confidence), 0)}")
    maps = explained.add_figure(
        "attribution",
        partial(
            attribution.draw_attributions,
            explained.images[chosen[:rows]], attributions.gradients, attributions.heatmaps, titles,
        ),
        f"{rows} validation images, each with seven attributions of its predicted class.",
        "Random validation images.",
    )  # fmt: skip
    scores = {name: curve.scores for name, curve in attributions.curves.items()}
    prose, table = compare_methods(scores)
    picture = explained.add_figure(
        "deletion-insertion",
        partial(attribution.draw_deletion_insertion, attributions.curves),
        "Probability of the predicted class during the deletion and the insertion of pixels, for each method.",
        f"Deletion and insertion on {len(chosen)} validation images. Pixels are replaced by those of a blurred image, "
        "or put back into it, the most important first (Petsiuk et al. 2018).",
    )
    yield prose
    yield Prose(describe_control(attributions.shuffled_correlations))
    yield Details("Attribution maps of every method", [maps])
    yield Details("Deletion and insertion scores of the attribution methods", [picture, table])


def describe_control(correlations: np.ndarray) -> str:
    """Returns a sentence on the rank correlation of guided gradients with those of shuffled weights."""
    values = correlations[np.isfinite(correlations)]
    num_degenerate = len(correlations) - len(values)
    if num_degenerate > MAX_DEGENERATE * len(correlations) or len(values) < 2:
        return (
            f"The control with shuffled weights is degenerate: for {num_degenerate} of {len(correlations)} images its "
            "gradients are uniform or zero. It says nothing about what was learned."
        )
    value, interval = correlation(estimate_mean(values.tolist(), "images"))
    left_out = f", without {num_degenerate} with uniform or zero gradients" if num_degenerate else ""
    return (
        f"The sizes of the guided gradients and of those with shuffled weights have a rank correlation of {value} "
        f"(95 % interval {interval}, n = {len(values)} images{left_out}). Near one, the gradients show the image "
        "rather than the learned weights (Adebayo et al. 2018)."
    )


def compare_methods(scores: dict[str, np.ndarray]) -> tuple[Prose, Table]:
    """Returns which methods are better than random pixels and than the image's edges, and a table of `(images,)`."""
    compared = statistics.compare_with_controls(scores)
    groups: dict[str, list[str]] = {
        "Better than the edges of the image": [],
        "Better than a random order, inconclusive against edges": [],
        "Inconclusive against a random order": [],
    }
    rows = []
    for name, differences in compared.items():
        is_better = {control: difference.low > 0 for control, difference in differences.items()}
        verdict = 0 if is_better[EDGES] and is_better[RANDOM] else 1 if is_better[RANDOM] else 2
        list(groups.values())[verdict].append(name)
        cells = [" (".join(correlation(differences[control])) + ")" for control in statistics.CONTROLS]
        rows.append([name, signed(float(scores[name].mean()), 2), *cells])
    rows += [[control, signed(float(scores[control].mean()), 2), "", ""] for control in (EDGES, RANDOM)]
    prose = Prose(" ".join(f"{title}: {join_words(names)}." for title, names in groups.items() if names))
    table = Table(
        "Area between the insertion and the deletion curve (larger is better), and its mean difference on the same "
        f"images from a random order of pixels and from an order by the strength of edges; n{SPACE}={SPACE}"
        f"{plural(len(scores[RANDOM]), 'image')}. All intervals together hold in 95 of 100 cases (Bonferroni).",
        "lrrr",
        ["method", "area", "minus random order", "minus image edges"],
        rows,
    )
    return prose, table
