"""A sweep: its progress, the learning curves of its trials, and the adjusted effects of its hyperparameters."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_inat.plotting import WIDTH, clip_to_width, measure_width, new_figure, use_percent
from keras_inat.reporting.charts.parallel_coordinates import color_positions
from keras_inat.reporting.formatting import percent, percentage_points, setting_name, setting_value
from keras_inat.reporting.statistics.adjusted_effects import AdjustedEffect
from keras_inat.reporting.statistics.linear_model import Factor, LinearModel
from keras_inat.store.balance import NAMES, choose_common, select
from keras_inat.store.records import Trial
from keras_inat.style import ACCENT, INK, MUTED, WRONG, clip

TIME_UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
# Adjusted effects.
NUM_COLUMNS = 3
MAX_PANELS = 18
MAX_TICKS = 5  # numbers that all get a tick
NOTE_SIZE = 8.5  # points
NOTE_WIDTH = 3.0  # inches
GOLDEN_RATIO = 0.618034


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
    use_percent(axes.yaxis)
    axes.set(xlabel=label, ylabel=NAMES[choose_common(trial.objective for trial in trials)])
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def _list_creation_times(trials: Sequence[Trial]) -> tuple[np.ndarray, str]:
    """Returns the creation time of each trial after the first, in a suitable unit, and the label of the axis."""
    moments = [datetime.fromisoformat(trial.started) for trial in trials]
    seconds = np.array([(moment - min(moments)).total_seconds() for moment in moments])
    unit = next((unit for unit, size in TIME_UNITS.items() if seconds.max() > 2 * size), "seconds")
    return seconds / TIME_UNITS[unit], f"creation time, {unit} after the first trial"


def draw_trial_curves(trials: Sequence[Trial], best: Trial) -> Figure:
    """Draws the validation scores of trials over their epochs, colored by their best score, the best trial on top."""
    figure = new_figure(WIDTH, 4.2)
    axes = figure.add_subplot(xlabel="epoch", ylabel=NAMES[best.objective])
    scores = np.array([trial.score or 0.0 for trial in trials])
    completed = [trial.score or 0.0 for trial in trials if trial.status == "completed"]
    low = min(completed)
    positions = np.clip((scores - low) / (max(completed) - low or 1.0), 0, 1)
    colors = color_positions(positions.tolist())
    for index in np.argsort(scores, kind="stable"):
        trial = trials[index]
        values = select(best.objective, trial.val_accuracies, trial.val_balanced_accuracies)
        is_best = trial.id == best.id
        axes.plot(range(1, len(values) + 1), values, color=colors[index], linewidth=2.6 if is_best else 1.2)
        if trial.status == "pruned" or len(values) == 1:
            axes.plot(len(values), values[-1], "o", color=colors[index], markersize=3.5)
        if is_best:
            text = f"trial {trial.id}, {percent(trial.score)}"
            place = (len(values), values[-1])
            axes.annotate(text, place, (6, 0), textcoords="offset points", fontsize=9, va="center", weight="bold")
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    use_percent(axes.yaxis)
    return figure


def draw_partial_residuals(model: LinearModel, effects: dict[str, AdjustedEffect], label: str) -> Figure:
    """Draws a panel for each hyperparameter: the model's line, and trials with the others moved to their means.

    The panels of `effects`, the clearest effect of each hyperparameter, come first, in this order.
    """
    order = list(effects)
    panels = sorted(
        zip(model.factors, model.fit_partially(), strict=True),
        key=lambda panel: order.index(panel[0].setting) if panel[0].setting in effects else len(order),
    )[:MAX_PANELS]
    num_rows = -(-len(panels) // NUM_COLUMNS)
    figure = new_figure(WIDTH, 0.3 + 2.6 * num_rows)
    figure.set_layout_engine("constrained", h_pad=0.1, w_pad=0.08)  # inches
    grid = figure.subplots(num_rows, NUM_COLUMNS, sharey=True, squeeze=False).ravel()
    for axes, (factor, fitted) in zip(grid, panels, strict=False):
        effect = effects.get(factor.setting)
        is_significant = effect is not None and effect.verdict == "significant"
        applies = np.array([value is not None for value in factor.values])
        axes.axhline(model.scores.mean(), color=MUTED, linewidth=1, linestyle=":")
        draw_line = _draw_number if factor.is_number else _draw_choices
        positions = draw_line(axes, factor, fitted[applies], INK if is_significant else MUTED if effect else "none")
        observed = (fitted + model.regression.residuals)[applies]
        color = ACCENT if is_significant else MUTED
        axes.scatter(positions, observed, 20, color=color, alpha=0.55 if is_significant else 0.35, linewidth=0)
        axes.set_title(clip(setting_name(factor.setting), 30), loc="left", pad=18, weight="bold")
        style: dict[str, Any] = {"fontsize": NOTE_SIZE, "xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(_describe(effect), (0, 1), (0, 6), color=color, **style).set_in_layout(False)
        axes.grid(axis="x", visible=False)
        use_percent(axes.yaxis)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.supylabel(label, fontsize=10)
    return figure


def _describe(effect: AdjustedEffect | None) -> str:
    """Returns an effect in a few words: `gelu against the others: +2.1 (+0.9 to +3.3)`."""
    if effect is None:
        return "too few trials"
    value, interval = percentage_points(effect.estimate)
    numbers = f": {value} ({interval})"
    room = NOTE_WIDTH - measure_width(numbers, NOTE_SIZE)
    change = "half-way against both ends" if effect.change.startswith("half-way") else effect.change
    return clip_to_width(change, room, NOTE_SIZE) + numbers


def _draw_number(axes: Axes, factor: Factor, fitted: np.ndarray, color: str) -> np.ndarray:
    """Draws the fitted curve of a number. Returns the position of each trial on the x axis."""
    positions = np.array([value for value in factor.values if value is not None], float)
    ticks = np.unique(positions)
    if factor.logarithmic:
        axes.set_xscale("log")
        axes.set_xticks([], minor=True)
        if len(ticks) > MAX_TICKS:
            ticks = np.array([float(f"{tick:.1g}") for tick in np.geomspace(ticks[0], ticks[-1], 3)])
    if factor.logarithmic or len(ticks) <= MAX_TICKS:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    order = np.argsort(positions)
    axes.plot(positions[order], fitted[order], color=color, linewidth=2.2, zorder=3)
    return positions


def _draw_choices(axes: Axes, factor: Factor, fitted: np.ndarray, color: str) -> np.ndarray:
    """Draws the fitted level of each choice. Returns the position of each trial on the x axis."""
    levels = [level for level, _ in factor.points]
    columns = np.array([levels.index(value) for value in factor.values if value is not None])
    for column in range(len(levels)):
        height = fitted[columns == column][0]
        axes.plot([column - 0.32, column + 0.32], [height, height], color=color, linewidth=2.2, zorder=3)
    axes.set_xticks(range(len(levels)), [clip(setting_value(level), 14) for level in levels])
    axes.set_xlim(-0.6, len(levels) - 0.4)
    return columns + 0.4 * (np.arange(len(columns)) * GOLDEN_RATIO % 1 - 0.5)  # evenly spread, in no order
