"""The charts that set runs against each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from keras_inat.plotting import ACCENT, CYCLE, MUTED, clip, new_figure
from keras_inat.report.charts.curves import PERCENT, WIDTH, draw_interval
from keras_inat.report.formatting import SPACE, brief, percent
from keras_inat.report.statistics.estimates import Estimate

MARKERS = "oD^vPXp*"
TIMES = {
    seconds * factor: f"{seconds}{SPACE}{unit}"
    for unit, factor in (("s", 1), ("min", 60), ("h", 3600))
    for seconds in (1, 3, 10, 30)
}


@dataclass(frozen=True)
class ComparedModel:
    """A configuration among others.

    Attributes:
        title: A few words.
        accuracy: On the test images.
        seeds: The accuracy of every seed.
        scratch: Whether it was trained from random weights.
        parameters: The most that one of its stages trained.
        seconds: That training took, the mean over seeds.
        rows: The metrics of its best run, an epoch each.
    """

    title: str
    accuracy: Estimate
    seeds: Sequence[float]
    scratch: bool
    parameters: int
    seconds: float
    rows: Sequence[dict[str, Any]]


def draw_accuracies(compared_models: Sequence[ComparedModel], chance: float | None = None) -> Figure:
    """Test accuracies with their intervals, one row each.

    Args:
        contenders: Top to bottom.
        chance: Accuracy of guessing, drawn as a line on a full scale; without it the scale fits the accuracies.
    """
    figure = new_figure(WIDTH, 1.5 + 0.5 * len(compared_models))
    axes = figure.add_subplot()
    for row, compared_model in enumerate(compared_models):
        estimate, seeds = compared_model.accuracy, compared_model.seeds
        color, marker = (CYCLE[1], "s") if compared_model.scratch else (ACCENT, "o")
        if len(seeds) > 1:
            axes.scatter(seeds, np.full(len(seeds), row + 0.2), 12, color, alpha=0.7, linewidth=0)
        draw_interval(axes, row, estimate, color, marker)
        axes.annotate(
            percent(estimate.value), (estimate.value, row), (0, 7), textcoords="offset points", ha="center", fontsize=9
        )
    if chance:
        axes.axvline(chance, color=MUTED, linestyle=":", linewidth=1.2)
        axes.annotate(
            "guessing", (chance, -0.5), (3, 0), textcoords="offset points", fontsize=8.5, color=MUTED, va="top"
        )
    for scratch, color, marker, name in ((True, CYCLE[1], "s", "from scratch"), (False, ACCENT, "o", "fine-tuned")):
        if any(compared_model.scratch is scratch for compared_model in compared_models):
            axes.plot([], [], marker, color=color, label=name)
    if any(len(compared_model.seeds) > 1 for compared_model in compared_models):
        axes.plot([], [], "o", color=MUTED, markersize=3.5, label="single seeds")
    axes.set_yticks(range(len(compared_models)), [clip(compared_model.title, 44) for compared_model in compared_models])
    axes.set_ylim(len(compared_models) - 0.4, -0.6)
    if chance:
        axes.set_xlim(0, 1)
    else:
        axes.margins(x=0.15)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("test accuracy, with 95 % interval")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def draw_costs(compared_models: Sequence[ComparedModel]) -> Figure:
    """Test accuracy against trained parameters and against the time of training, each by factors."""
    figure = new_figure(WIDTH, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key in ((left, "parameters"), (right, "seconds")):
        axes.set_xscale("log")
        places = _move_apart([max(float(getattr(compared_model, key)), 1e-3) for compared_model in compared_models])
        for index, (compared_model, place) in enumerate(zip(compared_models, places, strict=True)):
            estimate = compared_model.accuracy
            color, marker = _style(index, compared_model)
            axes.plot([place, place], [estimate.low, estimate.high], color=color, linewidth=2, solid_capstyle="butt")
            axes.plot(place, estimate.value, marker, ls="", color=color, ms=8, label=clip(compared_model.title, 40))
        axes.margins(x=0.15, y=0.12)
    left.xaxis.set_major_locator(LogLocator(numticks=5))
    left.xaxis.set_major_formatter(FuncFormatter(lambda number, _: brief(number)))
    left.xaxis.set_minor_formatter(NullFormatter())
    _scale_time(right)
    left.yaxis.set_major_formatter(PERCENT)
    left.set(xlabel="trained parameters", ylabel="test accuracy")
    right.set_xlabel("time of training")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def draw_learning_curves(compared_models: Sequence[ComparedModel]) -> Figure:
    """Validation accuracy of each one's best run against the time since its beginning, by factors."""
    figure = new_figure(WIDTH, 4.4)
    axes = figure.add_subplot()
    for index, compared_model in enumerate(compared_models):
        color, marker = _style(index, compared_model)
        times = np.cumsum([row["seconds"] for row in compared_model.rows])
        values = [row["val_accuracy"] for row in compared_model.rows]
        few = marker if len(values) < 40 else ""
        axes.plot(times, values, marker=few, color=color, ms=4, linewidth=1.4, label=clip(compared_model.title, 40))
    _scale_time(axes)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel="time since the training began", ylabel="validation accuracy")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def draw_epochs(curves: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> Figure:
    """Validation accuracy of runs, epoch by epoch."""
    figure = new_figure(WIDTH, 4.2)
    axes = figure.add_subplot()
    for index, (title, rows) in enumerate(curves):
        epochs, values = [row["epoch"] for row in rows], [row["val_accuracy"] for row in rows]
        few = MARKERS[index % len(MARKERS)] if len(rows) < 40 else ""
        color = CYCLE[index % len(CYCLE)]
        axes.plot(epochs, values, marker=few, color=color, ms=4, linewidth=1.4, label=clip(title, 40))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _move_apart(values: Sequence[float]) -> list[float]:
    """Places on a logarithmic scale, in the order of the values, none on top of another."""
    places, last = list(values), 0.0
    for index in np.argsort(values, kind="stable"):
        last = places[index] = max(values[index], 1.09 * last)
    return places


def _style(index: int, compared_model: ComparedModel) -> tuple[str, str]:
    """Colour and marker; from scratch is what it is in every chart."""
    others = [color for color in CYCLE if color != CYCLE[1]]
    return (CYCLE[1], "s") if compared_model.scratch else (others[index % len(others)], MARKERS[index % len(MARKERS)])


def _scale_time(axes: Axes) -> None:
    """Seconds by factors, marked at round times."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(TIMES)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: TIMES.get(round(seconds, 1), "")))
    axes.xaxis.set_minor_formatter(NullFormatter())
