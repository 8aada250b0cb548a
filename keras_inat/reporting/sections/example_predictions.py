"""Example predictions: random test images with their true and predicted classes."""

from collections.abc import Sequence
from functools import partial

from keras_inat.reporting.blocks import Block, Details, Picture, Section
from keras_inat.reporting.charts.images import draw_predictions
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import plural
from keras_inat.reporting.history import FinishedRun
from keras_inat.reporting.sections.trained_models import TrainedModel
from keras_inat.store.predictions import Predictions

TITLE = "Example predictions"
LEAD = (
    "Test images that were drawn at random before their predictions were known. Beside each image is its true class, "
    "and below that are the most probable classes. The true class takes the third place if it is not one of them."
)


def describe_example_predictions(models: Sequence[TrainedModel], figures: FigureFolder) -> Section:
    """Returns the section with the predictions of the first model, and with those of the others folded."""
    blocks: list[Block] = []
    for model in models:
        picture = _show_examples(model.run, model.predictions, figures)
        blocks.append(Details(f"{model.title}: example predictions", [picture]) if blocks else picture)
    return Section(TITLE, blocks, lead=LEAD)


def _show_examples(run: FinishedRun, predictions: Predictions, figures: FigureFolder) -> Picture:
    num_shown = len(predictions.examples)
    num_correct = int(predictions.correct[predictions.examples].sum())
    return figures.add(
        f"{run.command}-predictions",
        partial(draw_predictions, predictions, run.data.classes),
        f"Grid of {num_shown} test images with true class, predicted class and confidence: {num_correct} correct, "
        f"{num_shown - num_correct} wrong.",
        f"{num_correct} of {plural(num_shown, 'image')} are classified correctly. Solid green frame and tick: correct. "
        "Dashed red frame and cross: wrong.",
    )
