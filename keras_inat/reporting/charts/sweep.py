"""A sweep: its progress, parallel coordinates of its trials, and the adjusted effects of its hyperparameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inat.plotting import PERCENT, WIDTH, new_canvas, new_figure
from keras_inat.reporting.formatting import percent, setting_name, setting_value
from keras_inat.reporting.statistics.adjusted_effects import AdjustedEffects
from keras_inat.reporting.statistics.linear_model import Factor
from keras_inat.reporting.sweep_history import SweepHistory, is_number, read_level
from keras_inat.store.balance import NAMES, choose_common
from keras_inat.store.records import Trial
from keras_inat.style import ACCENT, INK, MUTED, PAPER, WRONG, clip

TIME_UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
# Parallel coordinates.
MAX_VALUE_TICKS = 6  # values that all get a tick
MIN_TICK_DISTANCE = 0.05  # of the length of an axis
MAX_LEVEL_NAMES = 8  # axes with their names at one height
BOTTOM = 3.95  # inches from the top of the figure
HEIGHT = 3.3
# Adjusted effects.
NUM_COLUMNS = 3
MAX_PANELS = 18
MAX_TICKS = 5  # numbers that all get a tick


def draw_sweep_progress(trials: Sequence[Trial]) -> Figure:
    """Draws the scores of trials against creation time, and the best one so far. One trial must be completed."""
    figure = new_figure(WIDTH, 4)
    axes = figure.add_subplot()
    times, label = _list_creation_times(trials)
    statuses = np.array([trial.status for trial in trials])
    scores = np.array([trial.score for trial in trials], float)  # NaN if there is none
    pruned = (statuses == "pruned") & ~np.isnan(scores)
    if pruned.any():
        style: dict[str, Any] = {"facecolor": "none", "edgecolor": ACCENT}
        axes.scatter(times[pruned], scores[pruned], 22, **style, label="pruned trial", zorder=2)
    completed = np.flatnonzero((statuses == "completed") & ~np.isnan(scores))
    axes.scatter(times[completed], scores[completed], 34, ACCENT, label="completed trial", zorder=3)
    so_far = np.maximum.accumulate(scores[completed])
    axes.step(times[completed], so_far, where="post", color=INK, linewidth=1.4, label="best so far")
    best = completed[scores[completed].argmax()]
    axes.scatter(times[best], scores[best], 190, facecolor="none", edgecolor=INK, linewidth=1.4, zorder=4)
    alignment = "center"
    if times[best] < 0.1 * (times.max() or 1):
        alignment = "left"
    elif times[best] > 0.9 * (times.max() or 1):
        alignment = "right"
    text = f"trial {trials[best].id}, {percent(scores[best])}"
    place = (times[best], scores[best])
    note = axes.annotate(text, place, (0, 11), textcoords="offset points", fontsize=9, ha=alignment)
    note.set_in_layout(False)  # it has room within the margins
    failed = times[statuses == "failed"]
    if len(failed):  # without an accuracy, they are drawn on the x axis itself
        style = {"color": WRONG, "transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 5}
        axes.plot(failed, np.zeros(len(failed)), "x", label="failed trial", **style)
    axes.margins(y=0.12)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel=label, ylabel=NAMES[choose_common(trial.objective for trial in trials)])
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def _list_creation_times(trials: Sequence[Trial]) -> tuple[np.ndarray, str]:
    """Returns the creation time of each trial after the first, in a suitable unit, and the label of the axis."""
    moments = [datetime.fromisoformat(trial.started) for trial in trials]
    seconds = np.array([(moment - min(moments)).total_seconds() for moment in moments])
    unit = next((unit for unit, size in TIME_UNITS.items() if seconds.max() > 2 * size), "seconds")
    return seconds / TIME_UNITS[unit], f"creation time, {unit} after the first trial"


@dataclass(frozen=True)
class Axis:
    """An axis of parallel coordinates."""

    label: str
    positions: list[float | None]  # of each trial, from 0 (bottom) to 1; None where the setting does not apply
    ticks: list[tuple[float, str]]  # positions and their labels


def build_axes(sweep: SweepHistory) -> list[Axis]:
    """Builds an axis for each hyperparameter of the completed trials, and one for the accuracy, the last."""
    axes = []
    for name in sweep.settings:
        values: list[Any] = [read_level(trial, name) for trial in sweep.completed]
        levels = {value for value in values if value is not None}
        is_scale = len(levels) > 1 and all(is_number(level) for level in levels)
        if is_scale:
            axes.append(_build_number_axis(setting_name(name), values, sweep.is_logarithmic(name)))
        else:
            axes.append(_build_choice_axis(setting_name(name), values))
    return [*axes, _build_score_axis(NAMES[sweep.objective], [trial.score or 0.0 for trial in sweep.completed])]


def _build_choice_axis(label: str, values: Sequence[Any]) -> Axis:
    """Builds an axis with the choices in alphabetical order, evenly spaced."""
    names = [None if value is None else setting_value(value) for value in values]
    levels = sorted({name for name in names if name is not None})
    heights = {level: (index + 0.5) / len(levels) for index, level in enumerate(levels)}
    positions = [None if name is None else heights[name] for name in names]
    return Axis(label, positions, [(height, level) for level, height in heights.items()])


def _build_number_axis(label: str, values: Sequence[float | None], logarithmic: bool) -> Axis:
    """Builds an axis from the lowest to the highest value."""
    given = sorted({value for value in values if value is not None})
    scale = math.log if logarithmic else float
    low = scale(given[0])
    high = scale(given[-1])
    positions = {value: (scale(value) - low) / (high - low) for value in given}
    are_apart = all(upper - lower > MIN_TICK_DISTANCE for lower, upper in pairwise(positions.values()))
    if len(given) <= MAX_VALUE_TICKS and are_apart:
        ticks = [(position, setting_value(value)) for value, position in positions.items()]
    else:
        numbers = (np.geomspace if logarithmic else np.linspace)(given[0], given[-1], 5)
        ticks = [(step / 4, f"{number:.2g}") for step, number in enumerate(numbers)]
    return Axis(label, [None if value is None else positions[value] for value in values], ticks)


def _build_score_axis(label: str, scores: Sequence[float]) -> Axis:
    low = min(scores)
    high = max(scores)
    if low == high:
        return Axis(label, [0.5] * len(scores), [(0.5, f"{100 * low:.1f} %")])
    ticks = [(step / 4, f"{100 * number:.1f} %") for step, number in enumerate(np.linspace(low, high, 5))]
    return Axis(label, [(score - low) / (high - low) for score in scores], ticks)


def color_lines(axis: Axis) -> list[str]:
    """Returns a color for every trial by its position on an axis: pale at the bottom, dark at the top."""
    colors = matplotlib.colormaps["YlGnBu"]
    return [matplotlib.colors.to_hex(colors(0.25 + 0.75 * (position or 0.0))) for position in axis.positions]


def draw_parallel_coordinates(axes: Sequence[Axis]) -> Figure:
    """Draws a line for each trial, colored by its position on the last axis, the best one on top."""
    figure, canvas = new_canvas(WIDTH, 4.2)
    xs = np.linspace(0.85, WIDTH - 0.85, len(axes)).tolist()
    colors = color_lines(axes[-1])
    for trial in np.argsort([position or 0.0 for position in axes[-1].positions], kind="stable"):
        points = [(x, axis.positions[trial]) for x, axis in zip(xs, axes, strict=True)]
        given = [(x, BOTTOM - HEIGHT * position) for x, position in points if position is not None]
        canvas.plot(*zip(*given, strict=True), color=colors[trial], linewidth=1.6, alpha=0.9)
    for index, (x, axis) in enumerate(zip(xs, axes, strict=True)):
        canvas.plot([x, x], [BOTTOM, BOTTOM - HEIGHT], color=INK, linewidth=1, zorder=5)
        is_lower = index % 2 == 1 and len(axes) > MAX_LEVEL_NAMES
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9.5, "weight": "bold"}
        canvas.text(x, 0.52 if is_lower else 0.3, axis.label.replace("_", " "), **style)
        _draw_ticks(canvas, x, axis, 1 if index == len(axes) - 1 else -1)
    return figure


def _draw_ticks(canvas: Axes, x: float, axis: Axis, side: int) -> None:
    """Draws the ticks of an axis on its left (`side` = -1) or on its right (1)."""
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    alignment = "left" if side > 0 else "right"
    for position, text in axis.ticks:
        y = BOTTOM - HEIGHT * position
        canvas.plot([x, x + 0.04 * side], [y, y], color=INK, linewidth=1, zorder=5)
        label = canvas.text(x + 0.07 * side, y, clip(text, 16), ha=alignment, va="center", fontsize=8.5, zorder=6)
        label.set_bbox(box)


def draw_partial_residuals(adjusted: AdjustedEffects, label: str) -> Figure:
    """Draws a panel for each hyperparameter: the model's line, and trials with the others moved to their means."""
    model = adjusted.model
    num_panels = min(len(model.factors), MAX_PANELS)
    num_rows = -(-num_panels // NUM_COLUMNS)
    figure = new_figure(WIDTH, 0.4 + 2.3 * num_rows)
    panels = figure.subplots(num_rows, NUM_COLUMNS, sharey=True, squeeze=False).ravel()
    significant = {effect.setting for effect in adjusted.effects if effect.is_significant}
    for panel, factor, fitted in zip(panels, model.factors, model.fit_partially(), strict=False):
        applies = np.array([value is not None for value in factor.values])
        draw_line = _draw_number if factor.is_number else _draw_choices
        positions = draw_line(panel, factor, fitted[applies])
        is_significant = factor.setting in significant
        color = ACCENT if is_significant else MUTED
        observed = (fitted + model.regression.residuals)[applies]
        panel.scatter(positions, observed, 12, color=color, alpha=0.6, linewidth=0)
        title = clip(setting_name(factor.setting), 24)
        panel.set_title(title if is_significant else f"{title}: not significant")
        panel.title.set_color(INK if is_significant else MUTED)
        panel.yaxis.set_major_formatter(PERCENT)
    for panel in panels[num_panels:]:
        panel.set_visible(False)
    figure.supylabel(label, fontsize=10)
    return figure


def _draw_number(panel: Axes, factor: Factor, fitted: np.ndarray) -> np.ndarray:
    """Draws the fitted curve of a number. Returns the position of each trial on the x axis."""
    positions = np.array([value for value in factor.values if value is not None], float)
    ticks = np.unique(positions)
    if factor.logarithmic:
        panel.set_xscale("log")
        panel.set_xticks([], minor=True)
        if len(ticks) > MAX_TICKS:
            ticks = np.array([float(f"{tick:.1g}") for tick in np.geomspace(ticks[0], ticks[-1], 3)])
    if factor.logarithmic or len(ticks) <= MAX_TICKS:
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    order = np.argsort(positions)
    panel.plot(positions[order], fitted[order], color=INK, linewidth=1.4, zorder=3)
    return positions


def _draw_choices(panel: Axes, factor: Factor, fitted: np.ndarray) -> np.ndarray:
    """Draws the fitted level of each choice. Returns the position of each trial on the x axis."""
    levels = [level for level, _ in factor.points]
    columns = np.array([levels.index(value) for value in factor.values if value is not None])
    for column in range(len(levels)):
        height = fitted[columns == column][0]
        panel.plot([column - 0.3, column + 0.3], [height, height], color=INK, linewidth=1.4, zorder=3)
    panel.set_xticks(range(len(levels)), [clip(setting_value(level), 14) for level in levels])
    panel.set_xlim(-0.6, len(levels) - 0.4)
    return columns + np.linspace(-0.2, 0.2, len(columns))
