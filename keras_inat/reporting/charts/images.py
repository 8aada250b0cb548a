"""Images: examples with their classes or predictions, and pairs of near-duplicates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_inat.plotting import WIDTH, new_canvas
from keras_inat.reporting.formatting import percent
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import DuplicatePair
from keras_inat.store.suspects import Suspect
from keras_inat.style import ACCENT, CORRECT, GRID, WRONG, clip

EXAMPLE_COLUMNS = 10
AUGMENTATION_COLUMNS = 2
PREDICTION_COLUMNS = 3
PAIR_COLUMNS = 4
SUSPECT_COLUMNS = 6
# In inches.
EXAMPLE_HEIGHT = 1.2
STRIP_LENGTH = 10
STRIP_HEIGHT = 1.25
PREDICTION_WIDTH = WIDTH / PREDICTION_COLUMNS
PREDICTION_HEIGHT = 1.18
PREDICTION_SIDE = 1.05
PAIR_SIDE = 1.13
PAIR_HEIGHT = PAIR_SIDE + 0.62
SUSPECT_SIDE = 1.5
SUSPECT_HEIGHT = SUSPECT_SIDE + 0.55
MARGIN = 0.1
GAP = 0.05
NUM_SHOWN = 3  # classes beside an image
CENTERED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5}


def draw_examples(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draws images `(images, size, size, 3)` uint8 with their classes, in the order of the classes."""
    figure, axes = new_canvas(WIDTH, EXAMPLE_HEIGHT * -(-len(images) // EXAMPLE_COLUMNS))
    for index, row in enumerate(np.argsort(labels, kind="stable")):
        x = index % EXAMPLE_COLUMNS
        y = EXAMPLE_HEIGHT * (index // EXAMPLE_COLUMNS)
        _place_image(axes, images[row], x + 0.04, y + 0.04, 0.92)
        axes.text(x + 0.5, y + 1.08, clip(classes[labels[row]], 14), **CENTERED)
    return figure


def draw_augmentation(images: np.ndarray, labels: np.ndarray, versions: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draws framed images `(images, size, size, 3)` uint8 with their classes, each before its augmented versions.

    `versions` are `(versions, images, size, size, 3)` uint8.
    """
    width = WIDTH / AUGMENTATION_COLUMNS
    cell = (width - 3 * MARGIN) / (1 + len(versions))
    height = cell + 0.34
    figure, axes = new_canvas(WIDTH, height * -(-len(images) // AUGMENTATION_COLUMNS))
    for index, image in enumerate(images):
        x = width * (index % AUGMENTATION_COLUMNS) + MARGIN
        y = height * (index // AUGMENTATION_COLUMNS) + 0.26
        axes.text(x, y - 0.11, clip(classes[labels[index]], 60), fontsize=9, weight="bold", va="center")
        _place_image(axes, image, x, y, cell - GAP)
        axes.add_patch(Rectangle((x, y), cell - GAP, cell - GAP, fill=False, edgecolor=ACCENT, linewidth=2.2))
        for number, version in enumerate(versions[:, index], 1):
            _place_image(axes, version, x + MARGIN + number * cell, y, cell - GAP)
    return figure


def draw_duplicate_pairs(duplicates: Sequence[tuple[DuplicatePair, np.ndarray]]) -> Figure:
    """Draws pairs of images `(2, size, size, 3)` uint8 with their folders and the parts that agree."""
    width = WIDTH / PAIR_COLUMNS * min(PAIR_COLUMNS, len(duplicates))
    figure, axes = new_canvas(width, PAIR_HEIGHT * -(-len(duplicates) // PAIR_COLUMNS))
    for index, (pair, images) in enumerate(duplicates):
        x = WIDTH / PAIR_COLUMNS * (index % PAIR_COLUMNS) + 0.06
        y = PAIR_HEIGHT * (index // PAIR_COLUMNS) + 0.06
        for number, (path, image) in enumerate(zip((pair.of, pair.path), images, strict=True)):
            left = x + number * (PAIR_SIDE + 0.08)
            _place_image(axes, image, left, y, PAIR_SIDE)
            folder = "/".join(path.split("/")[-3:-1])  # the split and the class, as in `train/Aves`
            axes.text(left + PAIR_SIDE / 2, y + PAIR_SIDE + 0.12, clip(folder, 20), **CENTERED)
        label = f"{pair.agreeing_cells} of {pair.cells} parts agree" + (", mirrored" if pair.mirrored else "")
        axes.text(x + PAIR_SIDE + 0.04, y + PAIR_SIDE + 0.31, label, weight="bold", **CENTERED)
    return figure


def draw_suspects(suspects: Sequence[Suspect], pixels: np.ndarray) -> Figure:
    """Draws label suspects `(suspects, size, size, 3)` uint8, each with its label, the suggested class and their p."""
    figure, axes = new_canvas(WIDTH, SUSPECT_HEIGHT * -(-len(pixels) // SUSPECT_COLUMNS))
    for index, (suspect, image) in enumerate(zip(suspects, pixels, strict=False)):
        x = WIDTH / SUSPECT_COLUMNS * (index % SUSPECT_COLUMNS) + 0.08
        y = SUSPECT_HEIGHT * (index // SUSPECT_COLUMNS) + 0.06
        _place_image(axes, image, x, y, SUSPECT_SIDE)
        label = f"{clip(suspect.label, 16)} {percent(suspect.probability_of_label, 0)}"
        suggested = f"→ {clip(suspect.suggested, 14)} {percent(suspect.probability_of_suggested, 0)}"
        axes.text(x + SUSPECT_SIDE / 2, y + SUSPECT_SIDE + 0.12, label, **CENTERED)
        axes.text(x + SUSPECT_SIDE / 2, y + SUSPECT_SIDE + 0.31, suggested, weight="bold", **CENTERED)
    return figure


def draw_predictions(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """Draws the example images, each with its true class and the most probable classes.

    Correct and wrong predictions differ in color, in the style of the frame and in the mark: a tick or a cross.
    """
    figure, axes = new_canvas(WIDTH, PREDICTION_HEIGHT * -(-len(predictions.examples) // PREDICTION_COLUMNS))
    for index, (row, image) in enumerate(zip(predictions.examples, predictions.pixels, strict=True)):
        x = PREDICTION_WIDTH * (index % PREDICTION_COLUMNS)
        y = PREDICTION_HEIGHT * (index // PREDICTION_COLUMNS) + 0.08
        true = int(predictions.labels[row])
        probabilities = predictions.probabilities[row]
        color = _draw_framed_image(axes, image, x, y, int(probabilities.argmax()) == true)
        left = x + PREDICTION_SIDE + 0.2
        right = x + PREDICTION_WIDTH - 0.16
        axes.text(left + 0.22, y + 0.12, clip(classes[true], 20), fontsize=10.5, weight="bold", va="center")
        shown = np.argsort(-probabilities, kind="stable")[:NUM_SHOWN].tolist()
        if true not in shown:
            shown[-1] = true
        for rank, label in enumerate(shown):
            name = clip(classes[label], 18)
            if label == true and rank:
                name += " (true)"
            probability = float(probabilities[label])
            top = y + 0.29 + 0.29 * rank
            bar_color = "#9aa5b1" if rank else color
            axes.add_patch(Rectangle((left, top + 0.165), right - left, 0.06, color=GRID, linewidth=0))
            length = (right - left) * probability
            axes.add_patch(Rectangle((left, top + 0.165), length, 0.06, color=bar_color, linewidth=0))
            style: dict[str, Any] = {"fontsize": 8.5, "va": "center", "weight": "normal" if rank else "bold"}
            axes.text(left, top + 0.08, name, **style)
            axes.text(right, top + 0.08, percent(probability, 0), ha="right", **style)
    return figure


def draw_prediction_strip(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """Draws the first examples in a row, each with its predicted class and the mark of a correct or wrong one."""
    rows = predictions.examples[:STRIP_LENGTH]
    figure, axes = new_canvas(WIDTH, STRIP_HEIGHT)
    for x, (row, image) in enumerate(zip(rows, predictions.pixels, strict=False)):
        is_correct = bool(predictions.correct[row])
        color = CORRECT if is_correct else WRONG
        _place_image(axes, image, x + 0.04, 0.02, 0.92)
        axes.add_patch(Rectangle((x + 0.04, 0.96), 0.92, 0.045, color=color, linewidth=0))
        name = clip(classes[predictions.predicted[row]], 13)
        axes.text(x + 0.5, 1.13, f"{'✓' if is_correct else '✗'} {name}", color=color, **CENTERED)
    return figure


def _draw_framed_image(axes: Axes, image: np.ndarray, x: float, y: float, correct: bool) -> str:
    """Draws an image, its frame and its mark on a tinted background. Returns their color."""
    color = CORRECT if correct else WRONG
    line = "solid" if correct else (0, (3, 1.5))
    mark = "✓" if correct else "✗"
    size = (PREDICTION_WIDTH - 0.08, PREDICTION_HEIGHT - 0.07)
    axes.add_patch(Rectangle((x + 0.01, y - 0.045), *size, color=color, alpha=0.08, linewidth=0, zorder=-1))
    _place_image(axes, image, x + 0.06, y, PREDICTION_SIDE)
    frame: dict[str, Any] = {"fill": False, "edgecolor": color, "linewidth": 2.6, "linestyle": line}
    axes.add_patch(Rectangle((x + 0.06, y), PREDICTION_SIDE, PREDICTION_SIDE, **frame))
    axes.text(x + PREDICTION_SIDE + 0.2, y + 0.11, mark, fontsize=15, weight="bold", color=color, va="center")
    return color


def _place_image(axes: Axes, image: np.ndarray, x: float, y: float, side: float) -> None:
    """Draws an image as a square with its upper left corner at `x`, `y` of a canvas."""
    axes.imshow(image, extent=(x, x + side, y + side, y), aspect="auto", interpolation="bicubic")
