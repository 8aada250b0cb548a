"""One trained model, looked at closely: how it learned, what it gets right and wrong, what it sees."""

import numpy as np

from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Heading, Prose, Section, Table
from keras_inat.report.charts.class_counts import describe_shown_classes
from keras_inat.report.charts.confusion_matrix import draw_confusion_matrix
from keras_inat.report.charts.image_grid import draw_predictions
from keras_inat.report.charts.learning_curves import draw_training
from keras_inat.report.charts.reliability_diagram import draw_reliability_diagram
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent, percent_with_interval, plural
from keras_inat.report.groups import Predictions, Record, SeedGroup
from keras_inat.report.sections.explanations import look_inside
from keras_inat.report.statistics.accuracy import estimate_accuracy, estimate_top_k
from keras_inat.report.statistics.calibration import measure_calibration
from keras_inat.report.statistics.confusion import count_confusion
from keras_inat.report.statistics.estimates import estimate_proportion
from keras_inat.settings.schema import Report

NUM_ERRORS = 5


def describe_model(group: SeedGroup, title: str, figures: FigureFolder, settings: Report) -> Section:
    """A section on the best model of a group."""
    record, blocks = group.best, _show_learning(group, figures)
    predictions = record.read_predictions()
    if predictions is None:
        missing = f"The predictions of `{record.folder.path.name}` are not on disk, so none are shown."
        return Section(title, [*blocks, Prose(missing)])
    blocks += [Heading("Thirty predictions"), *_show_predictions(record, predictions, figures)]
    blocks += [Heading("What it takes for what"), *_show_mistakes(record, predictions, figures)]
    blocks += [Heading("How sure it is"), *_show_calibration(record, predictions, figures)]
    blocks += [Heading("What it sees"), *look_inside(record, predictions, figures, settings)]
    return Section(title, blocks)


def _show_learning(group: SeedGroup, figures: FigureFolder) -> list[Block]:
    record, rows = group.best, group.best.folder.read_metrics()
    seeds = f", the best on validation of {plural(len(group.records), 'seed')}" if len(group.records) > 1 else ""
    number, planned = record.result["epochs"], record.config["training"]["epochs"]
    # Epochs are numbered as planned, also where a stage that stopped early left some out.
    epochs = f"{number} of {plural(planned, 'epoch')}" if number < planned else plural(number, "epoch")
    blocks: list[Block] = [
        Prose(
            f"`{record.folder.path.name}` (seed {record.result['seed']}{seeds}) trained for {epochs} in "
            f"{formatting.duration(record.result['seconds'])}; the weights of epoch {record.result['best_epoch']} were "
            f"kept, for their validation accuracy. On the test images this configuration reaches "
            f"{percent_with_interval(estimate_accuracy(group))}."
        )
    ]
    if rows:
        others = [other.folder.read_metrics() for other in group.records if other is not record]
        blocks.append(
            figures.add(
                f"{record.command}-curves",
                draw_training(rows, record.result["best_epoch"], [other for other in others if other]),
                f"Accuracy and loss on training and validation images over {epochs}.",
                "Training accuracy is measured while the weights still change, and on augmented images: it may lie "
                "below validation accuracy without anything being wrong. The training loss is that of targets which "
                "label smoothing, mixing and distillation soften: it may lie above that of validation for that alone.",
            )
        )
    return blocks


def _show_predictions(record: Record, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    right, shown = int(predictions.correct[predictions.examples].sum()), len(predictions.examples)
    return [
        Prose(
            f"{shown} test images, chosen at random before anything was known about the outcome. Of these, {right} are "
            f"right; of all {len(predictions.labels):,} it is "
            f"{percent_with_interval(estimate_proportion(int(predictions.correct.sum()), len(predictions.labels)))}."
        ),
        figures.add(
            f"{record.command}-predictions",
            draw_predictions(predictions, record.data["classes"]),
            f"Grid of {shown} test images with true label, predicted label and confidence: {right} right, "
            f"{shown - right} wrong.",
            "Beside each picture its true class, below it the classes the model finds most probable, the true one "
            "in place of the third where it is none of them. A solid green "
            "frame and a tick: right. A dashed red frame and a cross: wrong.",
        ),
    ]


def tabulate_classes(counts: np.ndarray, classes: list[str]) -> Table:
    """Recall and precision of every class that has test images, from a confusion matrix."""
    totals = counts.sum(axis=1)
    given = counts.sum(axis=0)
    return Table(
        "Every class. Recall: how many of its test images are recognised. Precision: how many of the images taken for "
        "it are of it. Each with its 95 % interval.",
        "lrrrrrr",
        ["class", "test images", "recall", "95 % interval", "taken for it", "precision", "95 % interval"],
        [
            [name, f"{totals[k]:,}", *_state(counts[k, k], totals[k]), f"{given[k]:,}", *_state(counts[k, k], given[k])]
            for k, name in enumerate(classes)
            if totals[k]
        ],
    )


def _show_mistakes(record: Record, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    classes = record.data["classes"]
    counts = count_confusion(predictions, len(classes))
    totals, table = counts.sum(axis=1), tabulate_classes(counts, classes)
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(int(cell), len(classes)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:NUM_ERRORS]]
    said = [
        f"{classes[true]} for {classes[taken]}, {percent_with_interval(estimate_proportion(number, int(totals[true])))}"
        for true, taken in pairs
        if (number := int(wrong[true, taken]))
    ]
    frequent = f"Mistaken most often: {'; '.join(said)}." if said else "No test image was mistaken."
    blocks: list[Block] = [
        figures.add(
            f"{record.command}-confusion",
            draw_confusion_matrix(counts, classes),
            f"Confusion matrix of {describe_shown_classes(len(classes))}, n = {len(predictions.labels):,} test images.",
            f"Each row is a true class, its cells the percentage of its images given to each class; "
            f"{describe_shown_classes(len(classes))}, n = {len(predictions.labels):,} test images of all.",
        ),
        Prose(frequent),
        table,
    ]
    worst = predictions.show_errors()
    if len(worst.examples):
        blocks.append(
            figures.add(
                f"{record.command}-mistakes",
                draw_predictions(worst, classes),
                f"The {len(worst.examples)} wrong predictions on test images that the model is most sure of.",
                "The wrong predictions that it is most sure of: where the picture shows what the label says, the model "
                "is at fault; where it does not, the label is.",
            )
        )
    return blocks


def _state(number: int, total: int) -> list[str]:
    """A share and its interval as two cells."""
    share = estimate_proportion(int(number), int(total)) if total else None
    return [percent(share.value), formatting.interval(share)] if share else ["–", "–"]


def _show_calibration(record: Record, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    bins, error, chance = measure_calibration(predictions)
    confidence = float(predictions.probabilities.max(axis=1).mean())
    right = estimate_proportion(int(predictions.correct.sum()), len(predictions.labels))
    leaning = "neither surer nor less sure than it should be, as far as so many images tell"
    if not right.low <= confidence <= right.high:
        leaning = f"{'surer' if confidence > right.high else 'less sure'} than it should be"
    told = "more than" if error > chance else "no more than"
    top = ""
    if len(record.data["classes"]) > 3:
        top = f"The true class is among its first three for {percent_with_interval(estimate_top_k(predictions))}. "
    return [
        Prose(
            f"{top}On average it is {percent(confidence)} sure, and right for {percent_with_interval(right)}: "
            f"{leaning}. "
            f"At each level of sureness it is off by {100 * error:.1f} points in the mean (expected calibration error, "
            f"{plural(len(bins), 'bin')}), {told} chance alone can do on so many images (up to "
            f"{100 * chance:.1f} points)."
        ),
        figures.add(
            f"{record.command}-calibration",
            draw_reliability_diagram(bins),
            "Accuracy against confidence on the test images.",
            "Test images sorted by how sure the model is of its prediction. Below the dashed line it is surer than it "
            "should be, above it less sure.",
        ),
    ]
