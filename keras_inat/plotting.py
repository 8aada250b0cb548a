"""The style of all figures, and saving them as PNG. Importing this module opens no window."""

import contextlib
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, PercentFormatter

from keras_inat.files import write_atomically
from keras_inat.style import CYCLE, GRID, INK, MUTED, PAPER

POINTS_PER_INCH = 72
WIDTH = 10.0  # inches, for a page of about 1,000 px
STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=CYCLE),
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    # A class name with a dollar sign is a name, not a formula.
    "text.parse_math": False,
}


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of `width` x `height` inches in the project's style, with a constrained layout."""
    matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
    return Figure(figsize=(width, height), layout="constrained")


def new_canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Returns an empty figure whose axes are in inches from its upper left corner."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def use_percent(*axes: Axis) -> None:
    """Labels the ticks of each axis, which are fractions, in percent."""
    for axis in axes:  # a formatter takes its digits from the range of its only axis
        axis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))


def use_points(axis: Axis) -> None:
    """Labels the ticks of an axis, which are differences of fractions, in signed points with the digits they need."""

    def label(value: float, _: object) -> str:
        step = 100 * min(np.diff(axis.get_majorticklocs()), default=1.0)
        digits = next((digits for digits in range(6) if abs(step - round(step, digits)) < 0.001 * step), 6)
        return f"{100 * value:+z.{digits}f}".replace("-", "\N{MINUS SIGN}") if round(100 * value, digits) else "0"

    axis.set_major_formatter(FuncFormatter(label))


@cache
def measure_width(text: str, size: float, weight: str = "normal") -> float:
    """Returns the width of a text in inches. `size` is in points."""
    font = FontProperties(family=STYLE["font.family"], weight=weight, size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / POINTS_PER_INCH


def clip_to_width(text: str, width: float, size: float) -> str:
    """Returns a text of `size` points, shortened until it is at most `width` inches wide."""
    length = len(text)
    while length > 1 and measure_width(text, size) > width:
        length -= 1
        text = f"{text[: length - 1]}…"
    return text


@contextlib.contextmanager
def allow_missing_glyphs() -> Iterator[None]:
    """Allows characters that the font lacks. They are drawn as boxes, which the reader sees anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a PNG atomically."""
    with write_atomically(path) as temporary, allow_missing_glyphs():
        figure.savefig(temporary, format="png")
    return path
