"""Best model from scratch, best fine-tuned model: one trained model in detail."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from keras_inat.intervals import estimate_proportion
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Heading, Prose, Section, Table
from keras_inat.reporting.charts.classification import (
    describe_shown_classes,
    draw_confusion_matrix,
    draw_reliability_diagram,
)
from keras_inat.reporting.charts.comparison import draw_training
from keras_inat.reporting.charts.images import draw_predictions
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import MISSING, percent, percent_with_interval, plural
from keras_inat.reporting.history import FinishedRun, SeedGroup
from keras_inat.reporting.sections.filters_and_attribution import describe_filters_and_attribution
from keras_inat.reporting.statistics.accuracy import (
    count_confusion,
    describe_test_accuracy,
    estimate_top_k,
    measure_calibration,
)
from keras_inat.reporting.statistics.temperature import TemperatureEffect, measure_temperature_effect
from keras_inat.settings.schema import Report
from keras_inat.store.balance import NAMES
from keras_inat.store.predictions import Predictions

TITLES = {"train-best": "Best model from scratch", "finetune": "Best fine-tuned model"}
NUM_ERRORS = 5
TOP_K = 3


def describe_best_model(group: SeedGroup, figures: FigureFolder, settings: Report) -> Section:
    """Returns the section on the run of a group with the best score on validation."""
    run = group.best
    section = Section(TITLES[run.command])
    section.blocks = [Heading("Learning curves"), *describe_learning_curves(group, figures)]
    predictions = run.read_predictions()
    if predictions is None:
        section.blocks.append(Prose(f"The predictions of `{run.title}` are not on disk, so they are not shown."))
        return section
    section.blocks += [
        Heading("Example predictions"),
        *_describe_examples(run, predictions, figures),
        Heading("Confusion matrix"),
        *describe_confusion_matrix(run, predictions, figures),
        Heading("Calibration"),
        *_describe_calibration(run, predictions, figures),
        Heading("Filters and attribution"),
        *describe_filters_and_attribution(run, predictions, figures, settings),
    ]
    return section


def describe_learning_curves(group: SeedGroup, figures: FigureFolder) -> list[Block]:
    """Describes the training of the best run of a group, with the curves of the other seeds."""
    run = group.best
    result = run.result
    selected_by = NAMES[group.objective]
    seeds = ""
    if len(group.runs) > 1:
        seeds = f", the best of {plural(len(group.runs), 'seed')} by {selected_by}"
    # Epochs are numbered as planned, even if a stage ended early and omitted some.
    epochs = plural(result.epochs, "epoch")
    if result.epochs < result.planned_epochs:
        epochs = f"{result.epochs} of {plural(result.planned_epochs, 'epoch')}"
    blocks: list[Block] = [
        Prose(
            f"`{run.title}` (seed {result.seed}{seeds}) trained for {epochs} in {formatting.duration(result.seconds)}. "
            f"The weights of epoch {result.best_epoch} were kept, because they have the best {selected_by}. "
            f"This {group.subject} has a test accuracy of {describe_test_accuracy(group)}."
        )
    ]
    curve = run.folder.read_epochs()
    if curve:
        others = [other.folder.read_epochs() for other in group.runs if other is not run]
        blocks.append(
            figures.add(
                f"{run.command}-learning-curves",
                partial(
                    draw_training,
                    curve,
                    result.best_epoch,
                    [other for other in others if other],
                    run.data.is_imbalanced,
                ),
                f"Training and validation accuracy and loss over {epochs}.",
                "Training accuracy is measured on augmented images while the weights still change, so it may be lower "
                "than validation accuracy. The targets of the training loss are softened by label smoothing, mixing "
                "and co-distillation, so it may be higher than the validation loss.",
            )
        )
    return blocks


def _describe_examples(run: FinishedRun, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    """Describes random test images with their true and predicted classes."""
    num_shown = len(predictions.examples)
    num_correct = int(predictions.correct[predictions.examples].sum())
    return [
        Prose(
            f"The figure shows {num_shown} test images that were drawn at random before their predictions were known. "
            f"{num_correct} of them are classified correctly."
        ),
        figures.add(
            f"{run.command}-predictions",
            partial(draw_predictions, predictions, run.data.classes),
            f"Grid of {num_shown} test images with true class, predicted class and confidence: {num_correct} correct, "
            f"{num_shown - num_correct} wrong.",
            "Beside each image is its true class, and below that are the most probable classes. The true class takes "
            "the third place if it is not one of them. Solid green frame and tick: correct. Dashed red frame and "
            "cross: wrong.",
        ),
    ]


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
        values = [formatting.signed(value, 3) for value in (effect.change.value, effect.change.low, effect.change.high)]
        change = f", a change of {values[0]} ({values[1]} to {values[2]}, {formatting.sample_size(effect.change)})"
    images = plural(run.data.counts.validation, "validation image")
    return (
        f"Temperature scaling (Guo et al. 2017) divides the logits by {temperature:.2f}. This temperature was fitted "
        f"on the {images} when the run ended, without any test image. On the test images, the expected calibration "
        f"error is {100 * error:.1f} points before and {100 * effect.calibration.error:.1f} points after scaling "
        f"(chance alone explains up to {100 * effect.calibration.chance_limit:.1f} points), and the mean negative "
        f"log-likelihood is {effect.log_loss_before:.3f} before and {effect.log_loss_after:.3f} after{change}. The "
        "command `predict` prints the scaled probabilities."
    )
