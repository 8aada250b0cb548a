"""Test accuracies of several models with their intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inat.plotting import ACCENT, MUTED, clip, new_figure
from keras_inat.report.charts.axes import PERCENT, WIDTH, draw_interval
from keras_inat.report.charts.compared_models import SCRATCH_COLOR, SCRATCH_MARKER, ComparedModel
from keras_inat.report.formatting import percent

STYLES = {True: (SCRATCH_COLOR, SCRATCH_MARKER, "from scratch"), False: (ACCENT, "o", "fine-tuned")}


def draw_accuracies(models: Sequence[ComparedModel], chance: float | None = None) -> Figure:
    """Draws test accuracies with their intervals, one row each.

    Args:
        models: From top to bottom.
        chance: Accuracy of guessing, drawn as a line on a scale from 0 to 1. Without it the scale fits the accuracies.
    """
    figure = new_figure(WIDTH, 1.5 + 0.5 * len(models))
    axes = figure.add_subplot()
    for row, model in enumerate(models):
        _draw_model(axes, row, model)
    if chance:
        axes.axvline(chance, color=MUTED, linestyle=":", linewidth=1.2)
        axes.annotate(
            "guessing", (chance, -0.5), (3, 0), textcoords="offset points", fontsize=8.5, color=MUTED, va="top"
        )
    for scratch, (color, marker, name) in STYLES.items():
        if any(model.scratch is scratch for model in models):
            axes.plot([], [], marker, color=color, label=name)
    if any(len(model.seeds) > 1 for model in models):
        axes.plot([], [], "o", color=MUTED, markersize=3.5, label="single seeds")
    axes.set_yticks(range(len(models)), [clip(model.title, 44) for model in models])
    axes.set_ylim(len(models) - 0.4, -0.6)
    if chance:
        axes.set_xlim(0, 1)
    else:
        axes.margins(x=0.15)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("test accuracy, with 95 % interval")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _draw_model(axes: Axes, row: int, model: ComparedModel) -> None:
    color, marker, _ = STYLES[model.scratch]
    if len(model.seeds) > 1:
        axes.scatter(model.seeds, np.full(len(model.seeds), row + 0.2), 12, color, alpha=0.7, linewidth=0)
    draw_interval(axes, row, model.accuracy, color, marker)
    axes.annotate(
        percent(model.accuracy.value), (model.accuracy.value, row), (0, 7), textcoords="offset points", ha="center",
        fontsize=9,
    )  # fmt: skip
