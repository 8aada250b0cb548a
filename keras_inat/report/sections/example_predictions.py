"""Example predictions: random test images with their true and predicted classes."""

from keras_inat.report.blocks import Block, Prose
from keras_inat.report.charts.images import draw_predictions
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent_with_interval
from keras_inat.report.seed_groups import FinishedRun
from keras_inat.report.statistics.estimates import estimate_proportion
from keras_inat.store.predictions import Predictions

TITLE = "Example predictions"


def describe_example_predictions(run: FinishedRun, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    """Describes the random examples and the test accuracy of a run."""
    num_shown = len(predictions.examples)
    num_correct = int(predictions.correct[predictions.examples].sum())
    num_images = len(predictions.labels)
    accuracy = estimate_proportion(int(predictions.correct.sum()), num_images)
    return [
        Prose(
            f"The figure shows {num_shown} test images that were drawn at random before their predictions were known. "
            f"{num_correct} of them are classified correctly. On all {num_images:,} test images, the accuracy is "
            f"{percent_with_interval(accuracy)}."
        ),
        figures.add(
            f"{run.command}-predictions",
            draw_predictions(predictions, run.data.classes),
            f"Grid of {num_shown} test images with true class, predicted class and confidence: {num_correct} correct, "
            f"{num_shown - num_correct} wrong.",
            "Beside each image is its true class, and below that are the most probable classes. The true class takes "
            "the third place if it is not one of them. Solid green frame and tick: correct. Dashed red frame and "
            "cross: wrong.",
        ),
    ]
