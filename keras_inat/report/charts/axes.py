"""Axes that several charts share: percentages, times and intervals, and a canvas for a manual layout."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, PercentFormatter

from keras_inat.plotting import PAPER, new_figure
from keras_inat.report.formatting import SPACE
from keras_inat.report.statistics.estimates import Estimate

WIDTH = 10.0  # inches, for a page of about 1,000 px
PERCENT = PercentFormatter(1, symbol=f"{SPACE}%")
TIMES = {
    seconds * factor: f"{seconds}{SPACE}{unit}"
    for unit, factor in (("s", 1), ("min", 60), ("h", 3600))
    for seconds in (1, 3, 10, 30)
}


def draw_interval(axes: Axes, row: float, estimate: Estimate, color: str, marker: str, filled: bool = True) -> None:
    """Draws an estimate and its interval at the height `row`."""
    axes.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=2, solid_capstyle="butt")
    axes.plot(estimate.value, row, marker, color=color, markersize=7, markerfacecolor=color if filled else PAPER)


def use_time_scale(axes: Axes) -> None:
    """Makes the x axis, in seconds, logarithmic with ticks at round times."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(TIMES)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: TIMES.get(round(seconds, 1), "")))
    axes.xaxis.set_minor_formatter(NullFormatter())


def new_canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Returns an empty figure whose axes are in inches from its upper left corner."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def place_image(axes: Axes, image: np.ndarray, x: float, y: float, side: float) -> None:
    """Draws an image `(height, width, 3)` as a square with its upper left corner at `x`, `y`."""
    x_limits = axes.get_xlim()
    y_limits = axes.get_ylim()
    axes.imshow(image, extent=(x, x + side, y + side, y), aspect="auto", interpolation="bicubic")
    axes.set(xlim=x_limits, ylim=y_limits)
