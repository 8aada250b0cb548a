"""Learning curves: accuracy and loss over epochs or over time."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_inat.plotting import ACCENT, CYCLE, INK, MUTED, PERCENT, WIDTH, clip, new_figure
from keras_inat.report.charts.comparison import MARKERS, ComparedModel, choose_style, use_time_scale
from keras_inat.store.records import Epoch

MAX_MARKED = 39  # epochs; longer curves are drawn without markers


def draw_training(epochs: Sequence[Epoch], best_epoch: int, others: Sequence[Sequence[Epoch]]) -> Figure:
    """Draws training and validation accuracy and loss over the epochs of a run, of which the best one was kept.

    The validation curves of `others`, runs with other seeds, are drawn faintly.
    """
    figure = new_figure(WIDTH, 3.9)
    left, right = figure.subplots(1, 2)
    numbers = [epoch.epoch for epoch in epochs]
    marker = "o" if len(epochs) <= MAX_MARKED else ""
    for axes, key in ((left, "accuracy"), (right, "loss")):
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
        axes.set(xlabel="epoch", ylabel=key)
    left.yaxis.set_major_formatter(PERCENT)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=5)
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
    axes.yaxis.set_major_formatter(PERCENT)
    figure.legend(loc="outside upper left", ncols=3)
    return figure
