"""Confusion matrix: true against predicted classes, recall and precision, and the highest-confidence errors."""

from collections.abc import Sequence

import numpy as np

from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Prose, Table
from keras_inat.report.charts.classification import describe_shown_classes, draw_confusion_matrix
from keras_inat.report.charts.images import draw_predictions
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import MISSING, percent, percent_with_interval
from keras_inat.report.seed_groups import FinishedRun
from keras_inat.report.statistics.classification import count_confusion
from keras_inat.report.statistics.estimates import estimate_proportion
from keras_inat.store.predictions import Predictions

TITLE = "Confusion matrix"
NUM_ERRORS = 5


def describe_confusion_matrix(run: FinishedRun, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    """Describes the errors of a run on the test images."""
    classes = run.data.classes
    counts = count_confusion(predictions, len(classes))
    shown = f"{describe_shown_classes(len(classes))}, n = {len(predictions.labels):,} test images"
    blocks: list[Block] = [
        figures.add(
            f"{run.command}-confusion",
            draw_confusion_matrix(counts, classes),
            f"Confusion matrix of {shown}.",
            "Each row is a true class. Its cells are the percentages of its images by predicted class. The figure "
            f"shows {shown}.",
        ),
        Prose(_list_frequent_errors(counts, classes)),
        tabulate_classes(counts, classes),
    ]
    errors = predictions.show_errors()
    if len(errors.examples):
        blocks.append(
            figures.add(
                f"{run.command}-errors",
                draw_predictions(errors, classes),
                f"The {len(errors.examples)} misclassified test images with the highest confidence.",
                "Highest-confidence errors. If an image shows what its label says, the model is wrong. Otherwise the "
                "label is wrong.",
            )
        )
    return blocks


def tabulate_classes(counts: np.ndarray, classes: Sequence[str]) -> Table:
    """Returns recall and precision of every class with test images, from a confusion matrix."""
    support = counts.sum(axis=1)
    predicted = counts.sum(axis=0)
    rows = []
    for label, name in enumerate(classes):
        if support[label]:
            correct = counts[label, label]
            recall = _format_proportion(correct, support[label])
            precision = _format_proportion(correct, predicted[label])
            rows.append([name, f"{support[label]:,}", *recall, f"{predicted[label]:,}", *precision])
    return Table(
        "Recall and precision of every class, with 95 % intervals. Recall: the fraction of the test images of the "
        "class that are predicted as this class. Precision: the fraction of the images predicted as the class that "
        "belong to it. Support: the number of test images of the class.",
        "lrrrrrr",
        ["class", "support", "recall", "95 % interval", "predicted", "precision", "95 % interval"],
        rows,
    )


def _list_frequent_errors(counts: np.ndarray, classes: Sequence[str]) -> str:
    errors = counts - np.diag(np.diag(counts))
    support = counts.sum(axis=1)
    frequent = []
    for cell in np.argsort(-errors, axis=None, kind="stable")[:NUM_ERRORS]:
        true, predicted = divmod(int(cell), len(classes))
        number = int(errors[true, predicted])
        if number:
            proportion = percent_with_interval(estimate_proportion(number, int(support[true])))
            frequent.append(f"{classes[true]} predicted as {classes[predicted]}, {proportion}")
    return f"Most frequent errors: {'; '.join(frequent)}." if frequent else "No test image was misclassified."


def _format_proportion(number: int, total: int) -> list[str]:
    """Returns a proportion and its interval as two cells."""
    if not total:
        return [MISSING, MISSING]
    proportion = estimate_proportion(int(number), int(total))
    return [percent(proportion.value), formatting.interval(proportion)]
