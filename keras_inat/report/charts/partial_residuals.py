"""Partial residual plots: the adjusted effect of each hyperparameter of a sweep."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inat.plotting import ACCENT, INK, MUTED, clip, new_figure
from keras_inat.report.charts.axes import PERCENT, WIDTH
from keras_inat.report.formatting import setting_name, setting_value
from keras_inat.report.statistics.adjusted_effects import AdjustedEffects
from keras_inat.report.statistics.design_matrix import Factor

NUM_COLUMNS = 3
MAX_PANELS = 18
MAX_TICKS = 5  # numbers that all get a tick


def draw_partial_residuals(adjusted: AdjustedEffects, label: str) -> Figure:
    """Draws a panel for each hyperparameter: the model's line, and trials with the others moved to their means."""
    factors = adjusted.factors[:MAX_PANELS]
    num_rows = -(-len(factors) // NUM_COLUMNS)
    figure = new_figure(WIDTH, 0.4 + 2.3 * num_rows)
    panels = figure.subplots(num_rows, NUM_COLUMNS, sharey=True, squeeze=False).ravel()
    significant = {effect.setting for effect in adjusted.effects if effect.is_significant}
    for panel, factor in zip(panels, factors, strict=False):
        applies = np.array([value is not None for value in factor.values])
        fitted = adjusted.fitted[factor.setting]
        draw_line = _draw_number if factor.is_number else _draw_choices
        positions = draw_line(panel, factor, fitted[applies])
        color = ACCENT if factor.setting in significant else MUTED
        residuals = adjusted.residuals
        panel.scatter(positions, (fitted + residuals)[applies], 12, color=color, alpha=0.6, linewidth=0)
        title = clip(setting_name(factor.setting), 24)
        if factor.setting in significant:
            panel.set_title(title, color=INK)
        else:
            panel.set_title(f"{title}: not significant", color=MUTED)
        panel.yaxis.set_major_formatter(PERCENT)
    for panel in panels[len(factors) :]:
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
