"""Classification: the images of every class, the confusion matrix and the reliability diagram."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch, Rectangle

from keras_inat.intervals import Estimate
from keras_inat.plotting import WIDTH, new_figure, use_percent
from keras_inat.reporting.charts.images import CENTERED
from keras_inat.reporting.formatting import SPACE, percent, plural
from keras_inat.style import ACCENT, CYCLE, GRID, INK, MUTED, PAPER, WRONG, clip

MAX_CLASSES = 40  # more labels are not legible
MAX_PAIRED = 12  # classes; larger confusion matrices are not placed beside each other
MAX_NUMBERED = 20  # classes; larger confusion matrices have no numbers in their cells
MAX_DECIMALS = 12  # classes; the cells of larger confusion matrices have no room for a decimal
MAX_ALPHA = 0.55  # of the colors of a confusion matrix; a number in ink is legible on it, also on a dark page
KEY_ALPHAS = np.linspace(0.08, MAX_ALPHA, 4)


def describe_shown_classes(num_classes: int) -> str:
    """Returns `all 10 classes` or `the first 40 of 100 classes`."""
    if num_classes <= MAX_CLASSES:
        return f"all {plural(num_classes, 'class')}"
    return f"the first {MAX_CLASSES} of {plural(num_classes, 'class')}"


def draw_class_counts(classes: Sequence[str], train: Sequence[int], test: Sequence[int]) -> Figure:
    """Draws bars for the training and validation images, and for the test images, of every class."""
    shown = classes[:MAX_CLASSES]
    figure = new_figure(WIDTH, 1.2 + 0.34 * len(shown))
    axes = figure.add_subplot()
    rows = np.arange(len(shown))
    for offset, counts, label, color in (
        (-0.2, train, "training and validation images", ACCENT),
        (0.2, test, "test images", CYCLE[1]),
    ):
        bars = axes.barh(rows + offset, counts[: len(shown)], 0.38, color=color, label=label)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8, color=MUTED)
    axes.set_yticks(rows, [clip(name, 28) for name in shown])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("images")
    axes.margins(x=0.08, y=0.02)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def draw_confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draws a confusion matrix `(classes, classes)`, each row a true class, in percent of its images.

    The diagonal is blue. The errors are red, on a scale of their own, so that they can be seen beside it.
    """
    size = min(len(classes), MAX_CLASSES)
    fractions = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[:size, :size]
    largest_error = float((fractions * (1 - np.eye(size))).max())
    names = [clip(name, 16) for name in classes[:size]]
    width = WIDTH / 2 if size <= MAX_PAIRED else min(WIDTH, 2.6 + 0.56 * size)
    figure = new_figure(width, width - 0.2)
    axes = figure.add_subplot()
    for (row, column), fraction in np.ndenumerate(fractions):
        is_error = row != column
        color = GRID
        strength = 0.4
        if counts[row, column]:
            color = WRONG if is_error else ACCENT
            # Even a rare error is seen, and the number remains legible on the strongest cell.
            strength = 0.08 + (MAX_ALPHA - 0.08) * float(fraction) / (largest_error if is_error else 1)
        axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, color=color, alpha=strength, linewidth=0))
        if counts[row, column] and size <= MAX_NUMBERED:
            weight = "normal" if is_error else "bold"
            axes.text(column, row, _format_cell(fraction, size), color=INK, weight=weight, **CENTERED)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", xlabel="predicted", ylabel="true")
    axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    keys = {f"correct: 0 to{SPACE}100{SPACE}%": ACCENT}
    if largest_error:
        keys[f"errors: 0 to{SPACE}{percent(largest_error)}"] = WRONG
    ramps: list[Any] = [
        tuple(Patch(color=color, alpha=alpha, linewidth=0) for alpha in KEY_ALPHAS) for color in keys.values()
    ]
    style: dict[str, Any] = {"handler_map": {tuple: HandlerTuple(ndivide=None, pad=0)}, "handlelength": 4}
    figure.legend(ramps, list(keys), loc="outside upper left", ncols=2, **style)
    return figure


def _format_cell(fraction: float, num_classes: int) -> str:
    """Returns a percentage as the table of classes has it; without decimals, half up, where cells are small."""
    if num_classes > MAX_DECIMALS:
        return f"{math.floor(100 * fraction + 0.5 + 1e-9)}"
    return f"{100 * fraction:.1f}".removesuffix(".0")


def draw_reliability_diagram(
    bins: Sequence[tuple[float, Estimate]], scaled_bins: Sequence[tuple[float, Estimate]] = ()
) -> Figure:
    """Draws accuracy against the mean confidence of each bin, and the number of images in it.

    `scaled_bins` are those after temperature scaling, without their numbers of images.
    """
    figure = new_figure(WIDTH / 2, 4.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfect calibration")
    for index, (confidence, accuracy) in enumerate(bins):
        label = "accuracy, with 95 % interval" if index == 0 else None
        ends = [accuracy.low, accuracy.high]
        upper.plot([confidence, confidence], ends, color=ACCENT, linewidth=2, solid_capstyle="butt")
        upper.plot(confidence, accuracy.value, "o", color=ACCENT, markersize=7, label=label)
    if scaled_bins:
        points = [(confidence, accuracy.value) for confidence, accuracy in scaled_bins]
        style = {"color": CYCLE[1], "markerfacecolor": PAPER, "markersize": 7}
        upper.plot(*zip(*points, strict=True), "o", label="after temperature scaling", **style)
    bars = lower.bar([confidence for confidence, _ in bins], [accuracy.num for _, accuracy in bins], 0.05, color=ACCENT)
    lower.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8, color=MUTED)
    lower.margins(y=0.25)
    use_percent(lower.xaxis, upper.yaxis)  # the x axis is that of both
    upper.set(xlim=(0, 1.03), ylim=(-0.02, 1.05), ylabel="accuracy")
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure
