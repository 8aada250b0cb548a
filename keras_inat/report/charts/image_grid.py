"""Grids of test images, with their classes or with the predictions of a model."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_inat.plotting import CORRECT, GRID, WRONG, clip
from keras_inat.report.charts.axes import WIDTH, new_canvas, place_image
from keras_inat.report.formatting import percent
from keras_inat.store.predictions import Predictions

EXAMPLE_COLUMNS = 10
EXAMPLE_HEIGHT = 1.2
PREDICTION_COLUMNS = 3
CELL_WIDTH = WIDTH / PREDICTION_COLUMNS
CELL_HEIGHT = 1.3
IMAGE_SIDE = 1.14
NUM_SHOWN = 3  # classes beside an image
BAR_COLOR = "#9aa5b1"  # of classes that are not predicted


def draw_examples(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """Draws the example images with their classes."""
    num_rows = -(-len(predictions.pixels) // EXAMPLE_COLUMNS)
    figure, axes = new_canvas(WIDTH, EXAMPLE_HEIGHT * num_rows)
    for index, (row, image) in enumerate(zip(predictions.examples, predictions.pixels, strict=True)):
        x = index % EXAMPLE_COLUMNS
        y = EXAMPLE_HEIGHT * (index // EXAMPLE_COLUMNS)
        place_image(axes, image, x + 0.04, y + 0.04, 0.92)
        axes.text(x + 0.5, y + 1.08, clip(classes[predictions.labels[row]], 14), ha="center", va="center", fontsize=8.5)
    return figure


def draw_predictions(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """Draws the example images, each with its true class and the most probable classes.

    Correct and wrong predictions differ in color, in the style of the frame and in the mark: a tick or a cross.
    """
    num_rows = -(-len(predictions.examples) // PREDICTION_COLUMNS)
    figure, axes = new_canvas(WIDTH, CELL_HEIGHT * num_rows)
    for index, (row, image) in enumerate(zip(predictions.examples, predictions.pixels, strict=True)):
        x = CELL_WIDTH * (index % PREDICTION_COLUMNS)
        y = CELL_HEIGHT * (index // PREDICTION_COLUMNS) + 0.08
        true = int(predictions.labels[row])
        probabilities = predictions.probabilities[row]
        color = _draw_framed_image(axes, image, x, y, int(probabilities.argmax()) == true)
        left = x + IMAGE_SIDE + 0.2
        axes.text(left + 0.22, y + 0.12, clip(classes[true], 20), fontsize=10.5, weight="bold", va="center")
        for rank, label in enumerate(_choose_classes(probabilities, true)):
            name = clip(classes[label], 18)
            if label == true and rank:
                name += " (true)"
            top = y + 0.29 + 0.29 * rank
            _draw_bar(axes, left, top, x + CELL_WIDTH - 0.16, name, float(probabilities[label]), rank, color)
    return figure


def _draw_framed_image(axes: Axes, image: np.ndarray, x: float, y: float, correct: bool) -> str:
    """Draws an image, its frame and its mark on a tinted background. Returns their color."""
    color = CORRECT if correct else WRONG
    line = "solid" if correct else (0, (3, 1.5))
    background = Rectangle((x + 0.01, y - 0.045), CELL_WIDTH - 0.08, CELL_HEIGHT - 0.07, color=color, alpha=0.08)
    background.set(linewidth=0, zorder=-1)
    axes.add_patch(background)
    place_image(axes, image, x + 0.06, y, IMAGE_SIDE)
    frame = Rectangle((x + 0.06, y), IMAGE_SIDE, IMAGE_SIDE, fill=False, edgecolor=color, linewidth=2.6, linestyle=line)
    axes.add_patch(frame)
    mark = "✓" if correct else "✗"
    axes.text(x + IMAGE_SIDE + 0.2, y + 0.11, mark, fontsize=15, weight="bold", color=color, va="center")
    return color


def _choose_classes(probabilities: np.ndarray, true: int) -> list[int]:
    """Returns the most probable classes, the true one in place of the last if it is not among them."""
    shown = np.argsort(-probabilities, kind="stable")[:NUM_SHOWN].tolist()
    if true not in shown:
        shown[-1] = true
    return shown


def _draw_bar(
    axes: Axes, left: float, top: float, right: float, name: str, probability: float, rank: int, color: str
) -> None:
    """Draws a class with its probability as a bar and as a number, in `color` for the predicted class."""
    axes.add_patch(Rectangle((left, top + 0.165), right - left, 0.06, color=GRID, linewidth=0))
    bar_color = BAR_COLOR if rank else color
    axes.add_patch(Rectangle((left, top + 0.165), (right - left) * probability, 0.06, color=bar_color, linewidth=0))
    weight = "normal" if rank else "bold"
    axes.text(left, top + 0.08, name, fontsize=8.5, va="center", weight=weight)
    axes.text(right, top + 0.08, percent(probability, 0), fontsize=8.5, va="center", ha="right", weight=weight)
