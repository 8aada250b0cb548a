"""The forest plot: estimates with their intervals, one row each."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from keras_inat.plotting import ACCENT, INK, clip, new_figure
from keras_inat.report.charts.axes import WIDTH, draw_interval
from keras_inat.report.formatting import signed
from keras_inat.report.statistics.estimates import Estimate


def draw_forest_plot(
    rows: Sequence[tuple[str, Estimate]], label: str, limits: tuple[float, float] | None = None, in_points: bool = False
) -> Figure:
    """Draws estimates with their intervals from top to bottom. Those that exclude zero are filled.

    Args:
        rows: Names and estimates.
        label: Of the x axis.
        limits: Of the x axis; None fits it to the intervals.
        in_points: Whether the estimates are differences of proportions, shown in percentage points.
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
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(100 * value, 1) if value else "0"))
    axes.set_xlabel(label)
    return figure
