"""Best model from scratch, best fine-tuned model: one trained model in detail."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from keras_inat.intervals import estimate_proportion
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Prose, Section, Table
from keras_inat.reporting.charts.classification import (
    describe_shown_classes,
    draw_confusion_matrix,
    draw_reliability_diagram,
)
from keras_inat.reporting.charts.images import draw_predictions
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import MISSING, percent, percent_with_interval, plural
from keras_inat.reporting.history import FinishedRun
from keras_inat.reporting.sections.trained_models import TrainedModel, describe_each
from keras_inat.reporting.statistics.accuracy import (
    count_confusion,
    estimate_top_k,
    measure_calibration,
)
from keras_inat.reporting.statistics.temperature import TemperatureEffect, measure_temperature_effect
from keras_inat.store.predictions import Predictions

CONFUSION = "Confusion matrix"
CONFUSION_LEAD = "Which classes are mistaken for which. Each row is a true class, each column a predicted class."
CALIBRATION = "Calibration"
CALIBRATION_LEAD = "Whether the probability of the predicted class agrees with the accuracy."
NUM_ERRORS = 5
TOP_K = 3


def describe_confusion(models: Sequence[TrainedModel], figures: FigureFolder) -> Section:
    """Returns the section on the errors of each model on the test images."""

    def describe(model: TrainedModel) -> list[Block]:
        assert model.predictions is not None
        return describe_confusion_matrix(model.run, model.predictions, figures)

    return Section(CONFUSION, describe_each(models, describe), lead=CONFUSION_LEAD)


def describe_calibration(models: Sequence[TrainedModel], figures: FigureFolder) -> Section:
    """Returns the section on the confidence of each model on the test images, compared with its accuracy."""

    def describe(model: TrainedModel) -> list[Block]:
        assert model.predictions is not None
        return _describe_calibration(model.run, model.predictions, figures)

    return Section(CALIBRATION, describe_each(models, describe), lead=CALIBRATION_LEAD)


def describe_confusion_matrix(run: FinishedRun, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    """Describes the errors of a run on the test images."""
    classes = run.data.classes
    counts = count_confusion(predictions, len(classes))
    shown = f"{describe_shown_classes(len(classes))}, n = {len(predictions.labels):,} test images"
    blocks: list[Block] = [
        figures.add(
            f"{run.command}-confusion",
            partial(draw_confusion_matrix, counts, classes),
            f"Confusion matrix of {shown}.",
            "Each row is a true class. Its cells are the percentages of its images by predicted class. Blue: correct. "
            f"Red: errors, on a scale up to the largest one. Gray: no image. The figure shows {shown}.",
        ),
        Prose(_list_frequent_errors(counts, classes)),
        tabulate_classes(counts, classes),
    ]
    errors = predictions.show_errors()
    if len(errors.examples):
        blocks.append(
            figures.add(
                f"{run.command}-errors",
                partial(draw_predictions, errors, classes),
                f"The {len(errors.examples)} misclassified test images with the highest confidence.",
                "Highest-confidence errors. If an image shows what its label says, the model is wrong. Otherwise the "
                "label is wrong.",
            )
        )
    return blocks


def tabulate_classes(counts: np.ndarray, classes: Sequence[str]) -> Table:
    """Returns recall and precision of every class with test images, from a confusion matrix."""
    rows = []
    for label, name in enumerate(classes):
        support = int(counts[label].sum())
        predicted = int(counts[:, label].sum())
        if support:
            correct = int(counts[label, label])
            recall = estimate_proportion(correct, support)
            precision = [MISSING, MISSING]
            if predicted:
                estimate = estimate_proportion(correct, predicted)
                precision = [percent(estimate.value), formatting.interval(estimate)]
            cells = [f"{support:,}", percent(recall.value), formatting.interval(recall), f"{predicted:,}", *precision]
            rows.append([name, *cells])
    return Table(
        "Recall and precision of every class, with 95 % intervals. Recall: the fraction of the test images of the "
        "class that are predicted as this class. Precision: the fraction of the images predicted as the class that "
        "belong to it. Support: the number of test images of the class.",
        "lrrrrrr",
        ["class", "support", "recall", "95 % interval", "predicted", "precision", "95 % interval"],
        rows,
    )


def _list_frequent_errors(counts: np.ndarray, classes: Sequence[str]) -> str:
    """Returns the pairs of classes with the most errors. Pairs that tie with the last one are counted."""
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-errors, axis=None, kind="stable")
    numbers = errors.ravel()[order]
    num_shown = min(NUM_ERRORS, int(np.count_nonzero(errors)))
    if not num_shown:
        return "No test image was misclassified."
    frequent = []
    for cell, number in zip(order[:num_shown], numbers, strict=False):
        true, predicted = divmod(int(cell), len(classes))
        proportion = percent_with_interval(estimate_proportion(int(number), int(counts[true].sum())))
        frequent.append(
            f"{classes[true]} predicted as {classes[predicted]}, {plural(int(number), 'image')}: {proportion}"
        )
    last = int(numbers[num_shown - 1])
    num_tied = int((numbers[num_shown:] == last).sum())
    more = f"; and {plural(num_tied, 'other pair')} with {plural(last, 'image')} each" if num_tied else ""
    return f"Most frequent errors: {'; '.join(frequent)}{more}."


def _describe_calibration(run: FinishedRun, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    """Describes the confidence of a run on the test images, compared with its accuracy."""
    calibration = measure_calibration(predictions)
    confidence = float(predictions.probabilities.max(axis=1).mean())
    accuracy = estimate_proportion(int(predictions.correct.sum()), len(predictions.labels))
    bias = "neither overconfident nor underconfident, within the interval"
    if confidence > accuracy.high:
        bias = "overconfident"
    elif confidence < accuracy.low:
        bias = "underconfident"
    text = ""
    if len(run.data.classes) > TOP_K:
        top = percent_with_interval(estimate_top_k(predictions, TOP_K))
        text = f"The true class is among the three most probable ones for {top}. "
    comparison = "more" if calibration.error > calibration.chance_limit else "no more"
    text += (
        f"The mean confidence is {percent(confidence)}, and the accuracy is {percent_with_interval(accuracy)}: the "
        f"model is {bias}. The expected calibration error is {100 * calibration.error:.1f} points "
        f"({plural(len(calibration.bins), 'bin')}), {comparison} than chance alone explains with so many images (up to "
        f"{100 * calibration.chance_limit:.1f} points)."
    )
    temperature = run.result.temperature
    if temperature is None:
        scaling = (
            "No temperature was fitted (Guo et al. 2017), because every validation image is classified correctly: the "
            "command `predict` prints the probabilities as they are."
        )
        scaled_bins = []
    else:
        effect = measure_temperature_effect(predictions, temperature)
        scaling = _describe_temperature(run, temperature, calibration.error, effect)
        scaled_bins = effect.calibration.bins
    picture = figures.add(
        f"{run.command}-calibration",
        partial(draw_reliability_diagram, calibration.bins, scaled_bins),
        "Reliability diagram: accuracy against confidence on the test images.",
        "Test images are grouped by confidence. Below the dashed line the model is overconfident, above it "
        f"underconfident.{' Hollow circles: after temperature scaling.' if scaled_bins else ''}",
    )
    return [Prose(text), Prose(scaling), picture]


def _describe_temperature(run: FinishedRun, temperature: float, error: float, effect: TemperatureEffect) -> str:
    """Describes the calibration before and after temperature scaling. `error` is that before."""
    change = ""
    if effect.change:
        value, interval = formatting.difference(effect.change, 3)
        change = f", a change of {value} ({interval}, {formatting.sample_size(effect.change)})"
    images = plural(run.data.counts.validation, "validation image")
    return (
        f"Temperature scaling (Guo et al. 2017) divides the logits by {temperature:.2f}. This temperature was fitted "
        f"on the {images} when the run ended, without any test image. On the test images, the expected calibration "
        f"error is {100 * error:.1f} points before and {100 * effect.calibration.error:.1f} points after scaling "
        f"(chance alone explains up to {100 * effect.calibration.chance_limit:.1f} points), and the mean negative "
        f"log-likelihood is {effect.log_loss_before:.3f} before and {effect.log_loss_after:.3f} after{change}. The "
        "command `predict` prints the scaled probabilities."
    )
