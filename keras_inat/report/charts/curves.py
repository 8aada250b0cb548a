"""The charts. Each function takes numbers and gives a `Figure`; nothing is read or written."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from keras_inat.plotting import ACCENT, CYCLE, INK, MUTED, PAPER, WRONG, clip, new_figure
from keras_inat.report.formatting import SPACE, percent, plural, signed
from keras_inat.report.groups import Trial
from keras_inat.report.statistics.adjusted_effects import Observations
from keras_inat.report.statistics.estimates import Estimate, find_best_so_far, format_value, shorten_setting

WIDTH = 10.0  # inches, for a page of about 1,000 px
PANELS, MAX_PANELS = 3, 18  # side by side, in all
FEW = 5  # numbers that are written at an axis one by one
MAX_CLASSES = 40  # more do not fit beside each other legibly
PERCENT = PercentFormatter(1, symbol=f"{SPACE}%")


def count_shown(num_classes: int) -> str:
    """What charts of classes show: `each of the 10 classes`, `the first 40 of 100 classes`."""
    if num_classes <= MAX_CLASSES:
        return f"each of the {plural(num_classes, 'class')}"
    return f"the first {MAX_CLASSES} of {plural(num_classes, 'class')}"


def draw_class_counts(classes: Sequence[str], per_class: dict[str, Sequence[int]]) -> Figure:
    """Bars for the images of every class, those to learn from and those to be judged on."""
    shown = classes[:MAX_CLASSES]
    figure = new_figure(WIDTH, 1.2 + 0.34 * len(shown))
    axes = figure.add_subplot()
    rows = np.arange(len(shown))
    names = {"train": ("train/ (training and validation)", ACCENT), "test": ("val/ (the test images)", CYCLE[1])}
    for offset, (split, (label, color)) in zip((-0.2, 0.2), names.items(), strict=True):
        bars = axes.barh(rows + offset, per_class[split][: len(shown)], 0.38, color=color, label=label)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8, color=MUTED)
    axes.set_yticks(rows, [clip(name, 28) for name in shown])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("images")
    axes.margins(x=0.08, y=0.02)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def draw_progress(trials: Sequence[Trial]) -> Figure:
    """Validation accuracy of a sweep's trials against their time of creation, and the best so far."""
    figure = new_figure(WIDTH, 4)
    axes = figure.add_subplot()
    times, label = _creation_times(trials)
    scored = [(time, trial, trial.score) for time, trial in zip(times, trials, strict=True) if trial.score is not None]
    done = [entry for entry in scored if entry[1].status == "completed"]
    if pruned := [entry for entry in scored if entry[1].status == "pruned"]:
        places, heights = [time for time, *_ in pruned], [score for *_, score in pruned]
        axes.scatter(places, heights, 22, facecolor="none", edgecolor=ACCENT, label="stopped early", zorder=2)
    axes.scatter([time for time, _, _ in done], [score for *_, score in done], 34, ACCENT, label="a trial", zorder=3)
    best = find_best_so_far([trial for _, trial, _ in done])
    if best:
        axes.step([time for time, _, _ in done], best, where="post", color=INK, linewidth=1.4, label="best so far")
        time, trial, score = max(done, key=lambda entry: entry[2])
        axes.scatter(time, score, 190, facecolor="none", edgecolor=INK, linewidth=1.4, zorder=4)
        place = time / (max(times) or 1)
        note = axes.annotate(
            f"trial {trial.id}, {percent(score)}", (time, score), (0, 11), textcoords="offset points", fontsize=9,
            ha="left" if place < 0.1 else "right" if place > 0.9 else "center",
        )  # fmt: skip
        note.set_in_layout(False)  # it has room within the margins
    failed = [time for time, trial in zip(times, trials, strict=True) if trial.status == "failed"]
    if failed:  # they have no accuracy, and stand on the axis itself
        axes.plot(
            failed, np.zeros(len(failed)), "x", color=WRONG, transform=axes.get_xaxis_transform(), clip_on=False,
            label="a failed trial", zorder=5,
        )  # fmt: skip
    axes.margins(y=0.12)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel=label, ylabel="validation accuracy")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def draw_intervals(
    rows: Sequence[tuple[str, Estimate]], label: str, limits: tuple[float, float] | None = None, in_points: bool = False
) -> Figure:
    """Estimates with their intervals, the first on top; those that exclude zero are filled.

    Args:
        rows: Names and estimates.
        label: Says what they are.
        limits: Of the scale; None for what fits.
        in_points: Whether the estimates are shares, to be told in percentage points.
    """
    figure = new_figure(WIDTH, 1.2 + 0.33 * len(rows))
    axes = figure.add_subplot()
    for row, (_, estimate) in enumerate(rows):
        draw_interval(axes, row, estimate, ACCENT, "o", filled=estimate.excludes_zero)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [clip(name, 40) for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(limits)
    axes.grid(axis="y", visible=False)
    if in_points:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: signed(100 * share, 1) if share else "0"))
    axes.set_xlabel(label)
    return figure


def draw_observations(observed: Observations, label: str) -> Figure:
    """Every hyperparameter by itself: trials as they would be with the others at their means, and the model's line."""
    factors = observed.factors[:MAX_PANELS]
    lines = -(-len(factors) // PANELS)
    figure = new_figure(WIDTH, 0.4 + 2.3 * lines)
    panels = figure.subplots(lines, PANELS, sharey=True, squeeze=False).ravel()
    shown = {row.setting for row in observed.rows if row.says}
    for panel, factor in zip(panels, factors, strict=False):
        fitted, color = observed.fitted[factor.setting], ACCENT if factor.setting in shown else MUTED
        given = np.array([value is not None for value in factor.values])
        values = [value for value in factor.values if value is not None]
        if factor.is_number:
            places = np.array(values, float)
            order = np.argsort(places)
            marks = np.unique(places)
            if factor.logarithmic:
                panel.set_xscale("log")
                panel.set_xticks([], minor=True)
                if len(marks) > FEW:
                    marks = np.array([float(f"{mark:.1g}") for mark in np.geomspace(marks[0], marks[-1], 3)])
            if factor.logarithmic or len(marks) <= FEW:
                panel.set_xticks(marks, [f"{mark:g}" for mark in marks])
            panel.plot(places[order], fitted[given][order], color=INK, linewidth=1.4, zorder=3)
        else:
            levels = [level for level, _ in factor.points]
            columns = np.array([levels.index(value) for value in values])
            places = columns + np.linspace(-0.2, 0.2, len(values))
            for column in range(len(levels)):
                height = fitted[given][columns == column][0]
                panel.plot([column - 0.3, column + 0.3], [height, height], color=INK, linewidth=1.4, zorder=3)
            panel.set_xticks(range(len(levels)), [clip(format_value(level), 14) for level in levels])
            panel.set_xlim(-0.6, len(levels) - 0.4)
        panel.scatter(places, (fitted + observed.residuals)[given], 12, color=color, alpha=0.6, linewidth=0)
        told = "" if factor.setting in shown else ": not shown"
        panel.set_title(clip(shorten_setting(factor.setting), 24) + told, color=INK if not told else MUTED)
        panel.yaxis.set_major_formatter(PERCENT)
    for panel in panels[len(factors) :]:
        panel.set_visible(False)
    figure.supylabel(label, fontsize=10)
    return figure


def draw_curves(rows: Sequence[dict[str, Any]], best_epoch: int, others: Sequence[Sequence[dict[str, Any]]]) -> Figure:
    """Accuracy and loss, epoch by epoch; `others` are runs with other seeds, drawn faintly."""
    figure = new_figure(WIDTH, 3.9)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for axes, key in ((left, "accuracy"), (right, "loss")):
        mark = "o" if len(rows) < 40 else ""
        axes.plot(epochs, [row[key] for row in rows], marker=mark, ms=3, color=ACCENT, label="training")
        axes.plot(epochs, [row[f"val_{key}"] for row in rows], marker=mark, ms=3, color=CYCLE[1], label="validation")
        for index, other in enumerate(others):
            xs, ys = [row["epoch"] for row in other], [row[f"val_{key}"] for row in other]
            label = "validation, other seeds" if index == 0 else None
            axes.plot(xs, ys, color=CYCLE[1], alpha=0.4, linewidth=1, label=label, zorder=1.5)
        axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
        for before, row in pairwise(rows):
            if row["stage"] != before["stage"]:
                axes.axvline(row["epoch"] - 0.5, color=MUTED, linewidth=1, linestyle="--")
                axes.annotate(
                    row["stage"], (row["epoch"] - 0.5, 1), (3, -2), xycoords=("data", "axes fraction"),
                    textcoords="offset points", va="top", fontsize=8.5, color=MUTED,
                )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel=key if key == "accuracy" else "loss")
    left.yaxis.set_major_formatter(PERCENT)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure


def draw_confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """The confusion matrix: each row a true class, in percent of its images."""
    size = min(len(classes), MAX_CLASSES)
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[:size, :size]
    counts, names = counts[:size, :size], [clip(name, 16) for name in classes[:size]]
    side = min(WIDTH, 2.6 + 0.56 * size)
    figure = new_figure(side, side - 1.25)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if size <= 20:
        for (row, column), value in np.ndenumerate(shares):
            if counts[row, column]:
                axes.text(
                    column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5,
                    color=PAPER if value > 0.55 else INK, weight="bold" if row == column else "normal",
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


def draw_reliability(bins: Sequence[tuple[float, Estimate]]) -> Figure:
    """Accuracy against confidence, and how many images were so sure."""
    figure = new_figure(0.72 * WIDTH, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="as often right as it says")
    for index, (sure, share) in enumerate(bins):
        label = "accuracy, with 95 % interval" if index == 0 else None
        upper.plot([sure, sure], [share.low, share.high], color=ACCENT, linewidth=2, solid_capstyle="butt")
        upper.plot(sure, share.value, "o", color=ACCENT, markersize=7, label=label)
    bars = lower.bar([sure for sure, _ in bins], [share.num for _, share in bins], 0.05, color=ACCENT)
    lower.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8, color=MUTED)
    lower.margins(y=0.25)
    for axes in (upper, lower):
        axes.xaxis.set_major_formatter(PERCENT)
    upper.yaxis.set_major_formatter(PERCENT)
    upper.set(xlim=(0, 1.03), ylim=(-0.02, 1.05), ylabel="accuracy")
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def draw_interval(axes: Axes, row: float, estimate: Estimate, color: str, marker: str, filled: bool = True) -> None:
    axes.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=2, solid_capstyle="butt")
    axes.plot(estimate.value, row, marker, color=color, markersize=7, markerfacecolor=color if filled else PAPER)


def _creation_times(trials: Sequence[Trial]) -> tuple[list[float], str]:
    """When each trial was created, in the unit that suits, counted from the first."""
    try:
        moments = [datetime.fromisoformat(trial.started) for trial in trials]
        seconds = [(moment - min(moments)).total_seconds() for moment in moments]
    except (ValueError, TypeError):
        return list(map(float, range(1, len(trials) + 1))), "trial, in order of creation"
    for size, unit in ((172_800, "days"), (7_200, "hours"), (120, "minutes")):
        if max(seconds) > size:
            divisor = {"days": 86_400, "hours": 3_600, "minutes": 60}[unit]
            return [value / divisor for value in seconds], f"creation time, {unit} after the first trial"
    return seconds, "creation time, seconds after the first trial"
