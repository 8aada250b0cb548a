"""The confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_inat.plotting import INK, PAPER, clip, new_figure
from keras_inat.report.charts.axes import PERCENT, WIDTH
from keras_inat.report.charts.class_counts import MAX_CLASSES

MAX_NUMBERED = 20  # classes; larger matrices have no numbers in their cells


def draw_confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draws a confusion matrix `(classes, classes)`, each row a true class, in percent of its images."""
    size = min(len(classes), MAX_CLASSES)
    fractions = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[:size, :size]
    names = [clip(name, 16) for name in classes[:size]]
    side = min(WIDTH, 2.6 + 0.56 * size)
    figure = new_figure(side, side - 1.25)
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), fraction in np.ndenumerate(fractions):
        if counts[row, column] and size <= MAX_NUMBERED:
            axes.text(
                column, row, f"{100 * fraction:.0f}", ha="center", va="center", fontsize=8.5,
                color=PAPER if fraction > 0.55 else INK, weight="bold" if row == column else "normal",
            )  # fmt: skip
    axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), names)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, format=PERCENT)
    bar.set_label("of the true class's images")
    bar.outline.set_visible(False)
    return figure
