"""Learning curves: accuracy and loss over epochs or over time."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_inat.plotting import ACCENT, CYCLE, INK, MUTED, clip, new_figure
from keras_inat.report.charts.axes import PERCENT, WIDTH, use_time_scale
from keras_inat.report.charts.compared_models import MARKERS, ComparedModel, choose_style
from keras_inat.store.records import Epoch

MAX_MARKED = 39  # epochs; longer curves are drawn without markers


def draw_training(epochs: Sequence[Epoch], best_epoch: int, others: Sequence[Sequence[Epoch]]) -> Figure:
    """Draws training and validation accuracy and loss over epochs.

    Args:
        epochs: The epochs of a run.
        best_epoch: The epoch whose weights were kept.
        others: The epochs of runs with other seeds, drawn faintly.
    """
    figure = new_figure(WIDTH, 3.9)
    left, right = figure.subplots(1, 2)
    for axes, key in ((left, "accuracy"), (right, "loss")):
        marker = _choose_marker("o", epochs)
        numbers = [epoch.epoch for epoch in epochs]
        validation = [getattr(epoch, f"val_{key}") for epoch in epochs]
        axes.plot(
            numbers, [getattr(epoch, key) for epoch in epochs], marker=marker, ms=3, color=ACCENT, label="training"
        )
        axes.plot(numbers, validation, marker=marker, ms=3, color=CYCLE[1], label="validation")
        for index, other in enumerate(others):
            xs = [epoch.epoch for epoch in other]
            ys = [getattr(epoch, f"val_{key}") for epoch in other]
            label = "validation, other seeds" if index == 0 else None
            axes.plot(xs, ys, color=CYCLE[1], alpha=0.4, linewidth=1, label=label, zorder=1.5)
        axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
        _mark_stages(axes, epochs)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel=key)
    left.yaxis.set_major_formatter(PERCENT)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure


def draw_validation_by_time(models: Sequence[ComparedModel]) -> Figure:
    """Draws the validation accuracy of the best run of each model over its training time, on a logarithmic scale."""
    figure = new_figure(WIDTH, 4.4)
    axes = figure.add_subplot()
    for index, model in enumerate(models):
        color, marker = choose_style(index, model)
        times = np.cumsum([epoch.seconds for epoch in model.epochs])
        _draw_validation(axes, times, model.epochs, color, marker, model.title)
    use_time_scale(axes)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel="training time", ylabel="validation accuracy")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def draw_validation_by_epoch(curves: Sequence[tuple[str, Sequence[Epoch]]]) -> Figure:
    """Draws the validation accuracy of several runs over epochs."""
    figure = new_figure(WIDTH, 4.2)
    axes = figure.add_subplot()
    for index, (title, epochs) in enumerate(curves):
        numbers = [epoch.epoch for epoch in epochs]
        _draw_validation(axes, numbers, epochs, CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)], title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _draw_validation(
    axes: Axes, xs: Sequence[float] | np.ndarray, epochs: Sequence[Epoch], color: str, marker: str, title: str
) -> None:
    values = [epoch.val_accuracy for epoch in epochs]
    marker = _choose_marker(marker, epochs)
    axes.plot(xs, values, marker=marker, color=color, ms=4, linewidth=1.4, label=clip(title, 40))


def _choose_marker(marker: str, epochs: Sequence[Epoch]) -> str:
    return marker if len(epochs) <= MAX_MARKED else ""


def _mark_stages(axes: Axes, epochs: Sequence[Epoch]) -> None:
    """Draws a line with its name where each stage but the first begins."""
    for before, epoch in pairwise(epochs):
        if epoch.stage != before.stage:
            axes.axvline(epoch.epoch - 0.5, color=MUTED, linewidth=1, linestyle="--")
            axes.annotate(
                epoch.stage, (epoch.epoch - 0.5, 1), (3, -2), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top", fontsize=8.5, color=MUTED,
            )  # fmt: skip
