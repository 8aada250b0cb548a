"""Confusion matrix: the errors of the best models on the test images, by true and predicted class."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from keras_inat.intervals import estimate_proportion
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Details, Prose, Section, Table
from keras_inat.reporting.charts.classification import MAX_PAIRED, describe_shown_classes, draw_confusion_matrix
from keras_inat.reporting.charts.images import draw_predictions
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import MISSING, percent, percent_with_interval, plural
from keras_inat.reporting.sections.trained_models import TrainedModel, place_beside
from keras_inat.reporting.statistics.accuracy import count_confusion

TITLE = "Confusion matrix"
LEAD = (
    "Each row is a true class, and its cells are the percentages of its test images by predicted class. Blue: correct. "
    "Red: errors, on a scale up to the largest one. Gray: no image."
)
NUM_ERRORS = 3


def describe_confusion_matrix(models: Sequence[TrainedModel], figures: FigureFolder) -> Section:
    """Returns the section on the errors of each model on the test images."""
    is_paired = all(len(model.run.data.classes) <= MAX_PAIRED for model in models)
    counted = [(model, count_confusion(model.predictions, len(model.run.data.classes))) for model in models]
    columns = [_describe_errors(model, counts, figures) for model, counts in counted]
    blocks = place_beside([model.title for model in models], columns, is_paired)
    for model, counts in counted:
        blocks += _fold_details(model, counts, figures)
    return Section(TITLE, blocks, lead=LEAD)


def _describe_errors(model: TrainedModel, counts: np.ndarray, figures: FigureFolder) -> list[Block]:
    run = model.run
    classes = run.data.classes
    shown = f"{describe_shown_classes(len(classes))}, n = {len(model.predictions.labels):,} test images"
    errors = list_frequent_errors(counts, classes)
    draw = partial(draw_confusion_matrix, counts, classes)
    return [
        figures.add(f"{run.command}-confusion", draw, f"Confusion matrix of {shown}.", f"`{run.title}`, {shown}."),
        Prose(f"Most frequent errors: {'; '.join(errors)}." if errors else "No test image was misclassified."),
    ]


def _fold_details(model: TrainedModel, counts: np.ndarray, figures: FigureFolder) -> list[Block]:
    """Returns the table of classes and the images of the highest-confidence errors of a model."""
    classes = model.run.data.classes
    table = tabulate_classes(counts, classes)
    blocks: list[Block] = [Details(f"{model.title}: recall and precision of every class", [table])]
    errors = model.predictions.show_errors()
    if len(errors.examples):
        picture = figures.add(
            f"{model.run.command}-errors",
            partial(draw_predictions, errors, classes),
            f"The {len(errors.examples)} misclassified test images with the highest confidence.",
            "If an image does not show what its label says, the label may be wrong.",
        )
        blocks.append(Details(f"{model.title}: highest-confidence errors", [picture]))
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


def list_frequent_errors(counts: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Returns the three pairs of classes with the most errors. Pairs that tie with the last one are counted."""
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-errors, axis=None, kind="stable")
    numbers = errors.ravel()[order]
    num_shown = min(NUM_ERRORS, int(np.count_nonzero(errors)))
    frequent = []
    for cell, number in zip(order[:num_shown], numbers, strict=False):
        true, predicted = divmod(int(cell), len(classes))
        proportion = percent_with_interval(estimate_proportion(int(number), int(counts[true].sum())))
        frequent.append(
            f"{classes[true]} predicted as {classes[predicted]}, {plural(int(number), 'image')}: {proportion}"
        )
    num_tied = int((numbers[num_shown:] == numbers[num_shown - 1]).sum()) if num_shown else 0
    if num_tied:
        frequent.append(f"and {plural(num_tied, 'other pair')} with {plural(int(numbers[num_shown]), 'image')} each")
    return frequent
