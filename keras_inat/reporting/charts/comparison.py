"""Learning curves, and comparisons of models, classes and hyperparameters by estimates with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from keras_inat.intervals import Estimate
from keras_inat.plotting import WIDTH, new_figure, use_percent, use_points
from keras_inat.reporting.formatting import SPACE, abbreviate, percent
from keras_inat.store.records import Epoch
from keras_inat.style import ACCENT, CYCLE, INK, MUTED, PAPER, clip

MAX_MARKED = 39  # epochs; longer curves are drawn without markers
MARKERS = "oD^vPXp*"
SCRATCH = (CYCLE[1], "s")  # color and marker of models from scratch
COLORS = [color for color in CYCLE if color not in SCRATCH]  # of the others
TIMES = {
    seconds * factor: f"{seconds}{SPACE}{unit}"
    for unit, factor in (("s", 1), ("min", 60), ("h", 3600))
    for seconds in (1, 3, 10, 30)
}


@dataclass(frozen=True)
class ComparedModel:
    """A trained configuration that is compared with others."""

    title: str
    accuracy: Estimate  # test accuracy
    seeds: Sequence[float]  # test accuracy of every seed
    training: str  # its command, or "student" if it learned from a teacher
    parameters: int  # the largest number of parameters that one of its stages trained
    seconds: float  # duration of the training, the mean over seeds
    epochs: Sequence[Epoch]  # of its best run


def choose_style(index: int, model: ComparedModel) -> tuple[str, str]:
    """Returns the color and the marker of a model. Models from scratch look the same in every chart."""
    return SCRATCH if model.training == "train-best" else (COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)])


def draw_accuracies(models: Sequence[ComparedModel], chance: float | None = None) -> Figure:
    """Draws test accuracies with their intervals, one row each.

    The accuracy of guessing is a line on a scale from 0 to 1. Without it the scale fits the accuracies.
    """
    figure, axes = _new_rows([clip(model.title, 44) for model in models], 1.5 + 0.5 * len(models))
    styles = {
        "train-best": (*SCRATCH, "from scratch"),
        "student": (CYCLE[2], "^", "with a teacher"),
        "finetune": (ACCENT, "o", "fine-tuned"),
    }
    for row, model in enumerate(models):
        color, marker, _ = styles[model.training]
        if len(model.seeds) > 1:
            axes.scatter(model.seeds, np.full(len(model.seeds), row + 0.2), 12, color, alpha=0.7, linewidth=0)
        _draw_interval(axes, row, model.accuracy, color, marker)
        value = model.accuracy.value
        axes.annotate(percent(value), (value, row), (0, 7), textcoords="offset points", ha="center", fontsize=9)
    if chance:
        axes.axvline(chance, color=MUTED, linestyle=":", linewidth=1.2)
        note = axes.annotate("guessing", (chance, -0.5), (3, 0), textcoords="offset points", fontsize=8.5, va="top")
        note.set_color(MUTED)
        axes.set_xlim(0, 1)
    else:
        axes.margins(x=0.15)
    for training, (color, marker, name) in styles.items():
        if any(model.training == training for model in models):
            axes.plot([], [], marker, color=color, label=name)
    if any(len(model.seeds) > 1 for model in models):
        axes.plot([], [], "o", color=MUTED, markersize=3.5, label="single seeds")
    use_percent(axes.xaxis)
    axes.set_xlabel("test accuracy, with 95 % interval")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def draw_costs(models: Sequence[ComparedModel]) -> Figure:
    """Draws test accuracy against trained parameters and against training time, both on logarithmic scales."""
    figure = new_figure(WIDTH, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, label in ((left, "parameters", "trained parameters"), (right, "seconds", "training time")):
        axes.set(xscale="log", xlabel=label)
        positions = separate([max(float(getattr(model, key)), 1e-3) for model in models])
        for index, (model, x) in enumerate(zip(models, positions, strict=True)):
            color, marker = choose_style(index, model)
            interval = [model.accuracy.low, model.accuracy.high]
            axes.plot([x, x], interval, color=color, linewidth=2, solid_capstyle="butt")
            axes.plot(x, model.accuracy.value, marker, ls="", color=color, ms=8, label=clip(model.title, 40))
        axes.margins(x=0.15, y=0.12)
    left.xaxis.set_major_locator(LogLocator(numticks=5))
    left.xaxis.set_major_formatter(FuncFormatter(lambda number, _: abbreviate(number)))
    left.xaxis.set_minor_formatter(NullFormatter())
    use_time_scale(right)
    use_percent(left.yaxis)
    left.set_ylabel("test accuracy")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def separate(values: Sequence[float]) -> list[float]:
    """Increases values on a logarithmic scale where needed, so that no two of them cover each other."""
    positions = list(values)
    last = 0.0
    for index in np.argsort(values, kind="stable"):
        last = max(values[index], 1.09 * last)
        positions[index] = last
    return positions


def use_time_scale(axes: Axes) -> None:
    """Makes the x axis, in seconds, logarithmic with ticks at round times."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(TIMES)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: TIMES.get(round(seconds, 1), "")))
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw_forest_plot(
    rows: Sequence[tuple[str, Estimate]], label: str, limits: tuple[float, float] | None = None, in_points: bool = False
) -> Figure:
    """Draws named estimates with their intervals, in percentage points if asked. Those that exclude zero are filled."""
    figure, axes = _new_rows([clip(name, 40) for name, _ in rows], 1.2 + 0.33 * len(rows))
    for row, (_, estimate) in enumerate(rows):
        _draw_interval(axes, row, estimate, ACCENT, "o", filled=estimate.excludes_zero)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set(xlim=limits, xlabel=label)
    if in_points:
        use_points(axes.xaxis)
    return figure


def _new_rows(names: Sequence[str], height: float) -> tuple[Figure, Axes]:
    """Returns axes with a named row at each of the heights 0, 1, 2, … from top to bottom."""
    figure = new_figure(WIDTH, height)
    axes = figure.add_subplot()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return figure, axes


def _draw_interval(axes: Axes, row: float, estimate: Estimate, color: str, marker: str, filled: bool = True) -> None:
    axes.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=2, solid_capstyle="butt")
    axes.plot(estimate.value, row, marker, color=color, markersize=7, markerfacecolor=color if filled else PAPER)


def draw_training(
    epochs: Sequence[Epoch], best_epoch: int, others: Sequence[Sequence[Epoch]], shows_balance: bool = False
) -> Figure:
    """Draws training and validation accuracy and loss over the epochs of a run, of which the best one was kept.

    The validation curves of `others`, runs with other seeds, are drawn faintly. `shows_balance` adds the balanced
    validation accuracy.
    """
    figure = new_figure(WIDTH / 2, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    numbers = [epoch.epoch for epoch in epochs]
    marker = "o" if len(epochs) <= MAX_MARKED else ""
    for axes, key in ((upper, "accuracy"), (lower, "loss")):
        for name, field, color in (("training", key, ACCENT), ("validation", f"val_{key}", CYCLE[1])):
            values = [getattr(epoch, field) for epoch in epochs]
            axes.plot(numbers, values, marker=marker, ms=3, color=color, label=name)
        for index, other in enumerate(others):
            xs = [epoch.epoch for epoch in other]
            ys = [getattr(epoch, f"val_{key}") for epoch in other]
            label = "validation, other seeds" if index == 0 else None
            axes.plot(xs, ys, color=CYCLE[1], alpha=0.4, linewidth=1, label=label, zorder=1.5)
        axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
        for before, epoch in pairwise(epochs):
            if epoch.stage != before.stage:
                x = epoch.epoch - 0.5
                axes.axvline(x, color=MUTED, linewidth=1, linestyle="--")
                place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
                axes.annotate(epoch.stage, (x, 1), (3, -2), va="top", fontsize=8.5, color=MUTED, **place)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(key)
    lower.set_xlabel("epoch")
    if shows_balance:
        balanced = [epoch.val_balanced_accuracy for epoch in epochs]
        upper.plot(numbers, balanced, marker=marker, ms=3, color=CYCLE[2], linestyle="-.", label="validation, balanced")
    use_percent(upper.yaxis)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def draw_validation_by_time(models: Sequence[ComparedModel]) -> Figure:
    """Draws the validation accuracy of the best run of each model over its training time, on a logarithmic scale."""
    curves = []
    for index, model in enumerate(models):
        times = np.cumsum([epoch.seconds for epoch in model.epochs]).tolist()
        curves.append((model.title, times, model.epochs, choose_style(index, model)))
    figure = _draw_validation(curves, 4.4, "training time")
    use_time_scale(figure.axes[0])
    return figure


def draw_validation_by_epoch(runs: Sequence[tuple[str, Sequence[Epoch]]]) -> Figure:
    """Draws the validation accuracy of several runs, each with its title, over epochs."""
    curves = []
    for index, (title, epochs) in enumerate(runs):
        style = (CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)])
        curves.append((title, [epoch.epoch for epoch in epochs], epochs, style))
    figure = _draw_validation(curves, 4.2, "epoch")
    figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw_validation(
    curves: Sequence[tuple[str, Sequence[float], Sequence[Epoch], tuple[str, str]]], height: float, label: str
) -> Figure:
    """Draws validation accuracy. Each curve has a title, positions on the x axis, epochs, a color and a marker."""
    figure = new_figure(WIDTH, height)
    axes = figure.add_subplot(xlabel=label, ylabel="validation accuracy")
    for title, xs, epochs, (color, marker) in curves:
        values = [epoch.val_accuracy for epoch in epochs]
        marker = marker if len(epochs) <= MAX_MARKED else ""
        axes.plot(xs, values, marker=marker, color=color, ms=4, linewidth=1.4, label=clip(title, 40))
    use_percent(axes.yaxis)
    figure.legend(loc="outside upper left", ncols=3)
    return figure
