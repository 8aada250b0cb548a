"""The number of images of every class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_inat.plotting import ACCENT, CYCLE, MUTED, clip, new_figure
from keras_inat.report.charts.axes import WIDTH
from keras_inat.report.formatting import plural

MAX_CLASSES = 40  # more labels are not legible


def describe_shown_classes(num_classes: int) -> str:
    """Returns `all 10 classes` or `the first 40 of 100 classes`."""
    if num_classes <= MAX_CLASSES:
        return f"all {plural(num_classes, 'class')}"
    return f"the first {MAX_CLASSES} of {plural(num_classes, 'class')}"


def draw_class_counts(classes: Sequence[str], train: Sequence[int], test: Sequence[int]) -> Figure:
    """Draws bars for the images of every class in train/ and in val/."""
    shown = classes[:MAX_CLASSES]
    figure = new_figure(WIDTH, 1.2 + 0.34 * len(shown))
    axes = figure.add_subplot()
    rows = np.arange(len(shown))
    for offset, counts, label, color in (
        (-0.2, train, "train/ (training and validation)", ACCENT),
        (0.2, test, "val/ (the test images)", CYCLE[1]),
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
