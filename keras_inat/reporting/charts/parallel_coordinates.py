"""Parallel coordinates of the trials of a sweep, and the colors of scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_inat.plotting import WIDTH, clip_to_width, measure_width, new_canvas
from keras_inat.reporting.formatting import percent, setting_name, setting_value
from keras_inat.reporting.sweep_history import SweepHistory, is_number, read_level
from keras_inat.store.balance import NAMES
from keras_inat.style import INK, MUTED, PAPER, SCORES

MAX_VALUE_TICKS = 6  # values that all get a tick
MIN_TICK_DISTANCE = 0.06  # of the length of an axis
NUM_TICKS = 5  # about, of other numbers
STEPS = [1, 2, 2.5, 5, 10]  # between them, times a power of 10
MAX_SPREAD = 0.035  # half the length that lines with equal values take of an axis
LINE_SPREAD = 0.003  # half the distance between them
# Inches.
MARGIN = 0.9
HEIGHT = 3.5  # of an axis
LINE = 0.2  # of names
GAP = 0.12  # between texts
KEY_WIDTH = 0.11
KEY_PIXELS = 64
# Points.
NAME_SIZE = 9.5
TICK_SIZE = 8.5


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
    scores = [trial.score or 0.0 for trial in sweep.completed]
    axes = [replace(axis, positions=_spread(axis.positions, scores)) for axis in axes]
    return [*axes, _build_score_axis(NAMES[sweep.objective], scores)]


def _spread(positions: Sequence[float | None], scores: Sequence[float]) -> list[float | None]:
    """Returns positions of which equal ones are moved apart a little, the highest score on top. All are seen so."""
    spread = list(positions)
    for position in {position for position in positions if position is not None}:
        group = [trial for trial, other in enumerate(positions) if other == position]
        group.sort(key=lambda trial: scores[trial])
        half = min(MAX_SPREAD, LINE_SPREAD * (len(group) - 1))
        low = min(max(position - half, 0), 1 - 2 * half)
        for place, trial in zip(np.linspace(low, low + 2 * half, len(group)).tolist(), group, strict=True):
            spread[trial] = place if half else position
    return spread


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
        inner = _list_round_numbers(given[0], given[-1], logarithmic)
        ends = [(0.0, f"{given[0]:.2g}"), (1.0, f"{given[-1]:.2g}")]
        ticks = _insert(ends, [((scale(number) - low) / (high - low), f"{number:g}") for number in inner])
    return Axis(label, [None if value is None else positions[value] for value in values], ticks)


def _list_round_numbers(low: float, high: float, logarithmic: bool) -> list[float]:
    """Returns about `NUM_TICKS` numbers between two others: multiples of a step, or 1, 2 and 5 times powers of 10."""
    numbers = [float(number) for number in MaxNLocator(NUM_TICKS, steps=STEPS).tick_values(low, high)]
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        factors = (1, 2, 5) if len(powers) <= NUM_TICKS - 2 else (1,)
        numbers = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [number for number in numbers if low <= number <= high]


def _insert(ticks: list[tuple[float, str]], others: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Returns ticks, and those of the others that have room between them, from bottom to top."""
    for tick in others:
        if all(abs(tick[0] - position) > MIN_TICK_DISTANCE and tick[1] != text for position, text in ticks):
            ticks = [*ticks, tick]
    return sorted(ticks)


def _build_score_axis(label: str, scores: Sequence[float]) -> Axis:
    low = min(scores)
    high = max(scores)
    if low == high:
        return Axis(label, [0.5] * len(scores), [(0.5, percent(low))])
    inner = _list_round_numbers(low, high, logarithmic=False)
    ticks = [((number - low) / (high - low), percent(number)) for number in inner]
    return Axis(
        label,
        [(score - low) / (high - low) for score in scores],
        _insert([(0.0, percent(low)), (1.0, percent(high))], ticks),
    )


def color_positions(positions: Sequence[float]) -> list[str]:
    """Returns a color with opacity, `#rrggbbaa`, for each position from 0 (the lowest score) to 1 (the highest)."""
    colors = LinearSegmentedColormap.from_list("scores", list(SCORES))
    return [to_hex(colors(float(position)), keep_alpha=True) for position in positions]


def color_lines(axis: Axis) -> list[str]:
    """Returns a color for every trial by its position on an axis."""
    return color_positions([position or 0.0 for position in axis.positions])


def draw_parallel_coordinates(axes: Sequence[Axis]) -> Figure:
    """Draws a line for each trial, colored by its position on the last axis, the best one on top.

    The last axis is the color key. Names that would cover each other are at different heights.
    """
    gap = (WIDTH - 2 * MARGIN) / max(1, len(axes) - 1)
    xs = [MARGIN + gap * index for index in range(len(axes))]
    names = [axis.label.replace("_", " ") for axis in axes]
    widths = [measure_width(name, NAME_SIZE, "bold") for name in names]
    centers = [min(max(x, width / 2), WIDTH - width / 2) for x, width in zip(xs, widths, strict=True)]
    rows = stagger(centers, widths)
    top = LINE * (max(rows) + 1) + 0.25
    bottom = top + HEIGHT
    figure, canvas = new_canvas(WIDTH, bottom + 0.15)
    colors = color_lines(axes[-1])
    for trial in np.argsort([position or 0.0 for position in axes[-1].positions], kind="stable"):
        points = [(x, axis.positions[trial]) for x, axis in zip(xs, axes, strict=True)]
        given = [(x, bottom - HEIGHT * position) for x, position in points if position is not None]
        width = 1.0 + 1.2 * (axes[-1].positions[trial] or 0.0)
        canvas.plot(*zip(*given, strict=True), color=colors[trial], linewidth=width, solid_joinstyle="round")
    for x, center, row, name, axis in zip(xs, centers, rows, names, axes, strict=True):
        canvas.plot([x, x], [top, bottom], color=INK, linewidth=1, zorder=5)
        y = top - 0.2 - LINE * row
        canvas.plot([x, x], [top, y + 0.09], color=MUTED, linewidth=0.6, zorder=1)
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": NAME_SIZE, "weight": "bold"}
        canvas.text(center, y, name, **style).set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 1})
        if axis is not axes[-1]:
            _draw_ticks(canvas, x, bottom, axis, -1, gap)
    _draw_key(canvas, xs[-1], bottom)
    _draw_ticks(canvas, xs[-1] + KEY_WIDTH, bottom, axes[-1], 1, MARGIN)
    return figure


def stagger(centers: Sequence[float], widths: Sequence[float]) -> list[int]:
    """Returns the row of each text, from left to right: the lowest one in which it covers no other."""
    ends = list[float]()  # of each row
    rows = []
    for center, width in zip(centers, widths, strict=True):
        start = center - width / 2
        row = next((row for row, end in enumerate(ends) if start > end + GAP), len(ends))
        ends[row : row + 1] = [center + width / 2]
        rows.append(row)
    return rows


def _draw_key(canvas: Axes, x: float, bottom: float) -> None:
    """Draws the colors of the scores along the axis of the scores."""
    colors = [to_rgba(color) for color in color_positions(np.linspace(1, 0, KEY_PIXELS).tolist())]
    pixels = np.repeat(np.array(colors)[:, None], KEY_PIXELS, axis=1)
    canvas.imshow(pixels, extent=(x, x + KEY_WIDTH, bottom, bottom - HEIGHT), aspect="auto", zorder=4)


def _draw_ticks(canvas: Axes, x: float, bottom: float, axis: Axis, side: int, room: float) -> None:
    """Draws the ticks of an axis on its left (`side` = -1) or on its right (1), where it has `room` in inches."""
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    alignment = "left" if side > 0 else "right"
    for position, text in axis.ticks:
        y = bottom - HEIGHT * position
        canvas.plot([x, x + 0.04 * side], [y, y], color=INK, linewidth=1, zorder=5)
        fitted = clip_to_width(text, room - GAP, TICK_SIZE)
        label = canvas.text(x + 0.07 * side, y, fitted, ha=alignment, va="center", fontsize=TICK_SIZE, zorder=6)
        label.set_bbox(box)
