"""Parallel coordinates of the trials of a sweep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inat.plotting import INK, PAPER, clip
from keras_inat.report.charts.axes import WIDTH, new_canvas
from keras_inat.report.formatting import setting_name, setting_value
from keras_inat.report.statistics.design_matrix import LOGARITHMIC_RATIO
from keras_inat.report.sweep_history import SweepHistory, is_number, read_level

MAX_VALUE_TICKS = 6  # values that all get a tick
MIN_TICK_DISTANCE = 0.05  # of the length of an axis
MAX_LEVEL_NAMES = 8  # axes with their names at one height
BOTTOM = 3.95  # inches from the top of the figure
HEIGHT = 3.3


@dataclass(frozen=True)
class Axis:
    """An axis of parallel coordinates.

    Attributes:
        label: Its name.
        positions: Of each trial, from 0 (bottom) to 1; None where the setting does not apply.
        ticks: Positions and their labels.
    """

    label: str
    positions: list[float | None]
    ticks: list[tuple[float, str]] = field(default_factory=list)


def build_axes(sweep: SweepHistory) -> list[Axis]:
    """Builds an axis for each hyperparameter of the completed trials, and one for the accuracy, the last."""
    trials = sweep.completed
    axes = []
    for name in sweep.settings:
        values: list[Any] = [read_level(trial, name) for trial in trials]
        levels = {value for value in values if value is not None}
        if len(levels) > 1 and all(is_number(level) for level in levels):
            axes.append(_build_number_axis(setting_name(name), values))
        else:
            axes.append(_build_choice_axis(setting_name(name), values))
    scores = [trial.score or 0.0 for trial in trials]
    return [*axes, _build_accuracy_axis(scores)]


def _build_choice_axis(label: str, values: Sequence[Any]) -> Axis:
    """Builds an axis with the choices in alphabetical order, evenly spaced."""
    names = [None if value is None else setting_value(value) for value in values]
    levels = sorted({name for name in names if name is not None})
    heights = {level: (index + 0.5) / len(levels) for index, level in enumerate(levels)}
    positions = [None if name is None else heights[name] for name in names]
    return Axis(label, positions, [(height, level) for level, height in heights.items()])


def _build_number_axis(label: str, values: Sequence[float | None]) -> Axis:
    """Builds an axis from the lowest to the highest value, logarithmic if they span a large ratio."""
    given = sorted({value for value in values if value is not None})
    logarithmic = given[0] > 0 and given[-1] / given[0] >= LOGARITHMIC_RATIO
    scale = math.log if logarithmic else float
    low = scale(given[0])
    high = scale(given[-1])
    positions = {value: (scale(value) - low) / (high - low) for value in given}
    are_apart = all(upper - lower > MIN_TICK_DISTANCE for lower, upper in pairwise(positions.values()))
    if len(given) <= MAX_VALUE_TICKS and are_apart:
        ticks = [(position, setting_value(value)) for value, position in positions.items()]
    else:
        numbers = _space_evenly(low, high)
        if logarithmic:
            numbers = [math.exp(number) for number in numbers]
        ticks = [(step / 4, f"{number:.2g}") for step, number in enumerate(numbers)]
    return Axis(label, [None if value is None else positions[value] for value in values], ticks)


def _build_accuracy_axis(scores: Sequence[float]) -> Axis:
    low = min(scores)
    high = max(scores)
    if low == high:
        return Axis("validation accuracy", [0.5] * len(scores), [(0.5, _format_accuracy(low))])
    ticks = [(step / 4, _format_accuracy(number)) for step, number in enumerate(_space_evenly(low, high))]
    return Axis("validation accuracy", [(score - low) / (high - low) for score in scores], ticks)


def _space_evenly(low: float, high: float) -> list[float]:
    """Returns five numbers from `low` to `high`."""
    return [low + (high - low) * step / 4 for step in range(5)]


def _format_accuracy(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} %"


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
        given = [(x, _height(position)) for x, position in points if position is not None]
        canvas.plot(*zip(*given, strict=True), color=colors[trial], linewidth=1.6, alpha=0.9)
    for index, (x, axis) in enumerate(zip(xs, axes, strict=True)):
        canvas.plot([x, x], [BOTTOM, BOTTOM - HEIGHT], color=INK, linewidth=1, zorder=5)
        is_lower = index % 2 == 1 and len(axes) > MAX_LEVEL_NAMES
        canvas.text(
            x, 0.52 if is_lower else 0.3, axis.label.replace("_", " "), ha="center", va="center", fontsize=9.5,
            weight="bold",
        )  # fmt: skip
        _draw_ticks(canvas, x, axis, 1 if index == len(axes) - 1 else -1)
    return figure


def _draw_ticks(canvas: Axes, x: float, axis: Axis, side: int) -> None:
    """Draws the ticks of an axis on its left (`side` = -1) or on its right (1)."""
    for position, text in axis.ticks:
        y = _height(position)
        canvas.plot([x, x + 0.04 * side], [y, y], color=INK, linewidth=1, zorder=5)
        canvas.text(
            x + 0.07 * side, y, clip(text, 16), ha="left" if side > 0 else "right", va="center", fontsize=8.5, zorder=6,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
        )  # fmt: skip


def _height(position: float) -> float:
    """Returns a position on an axis in inches from the top of the figure."""
    return BOTTOM - HEIGHT * position
