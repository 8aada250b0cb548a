"""The style of all figures, and saving them as PNG. Importing this module opens no window."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from keras_inat.files import write_atomically
from keras_inat.style import CYCLE, GRID, INK, MUTED, PAPER

WIDTH = 10.0  # inches, for a page of about 1,000 px
PERCENT = PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%")
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


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a PNG atomically."""
    with write_atomically(path) as temporary, warnings.catch_warnings():
        # A character that the font lacks is drawn as a box, which the reader sees anyway.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format="png")
    return path
