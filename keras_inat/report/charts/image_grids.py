"""Figures laid out by hand, in inches from the upper left corner: grids of images, and parallel coordinates."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_inat.plotting import GRID, INK, PAPER, RIGHT, WRONG, clip, new_figure
from keras_inat.report.charts.curves import WIDTH
from keras_inat.report.formatting import percent
from keras_inat.report.groups import Predictions
from keras_inat.report.statistics.estimates import Axis


def draw_examples(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """The thirty random test images with their class, ten in a row."""
    num_rows = -(-len(predictions.pixels) // 10)
    figure, axes = _blank(WIDTH, 1.2 * num_rows)
    for index, (row, image) in enumerate(zip(predictions.examples, predictions.pixels, strict=True)):
        x, y = index % 10, 1.2 * (index // 10)
        _place(axes, image, x + 0.04, y + 0.04, 0.92)
        axes.text(x + 0.5, y + 1.08, clip(classes[predictions.labels[row]], 14), ha="center", va="center", fontsize=8.5)
    return figure


def draw_duplicates(duplicates: Sequence[tuple[dict[str, Any], np.ndarray]]) -> Figure:
    """Pairs of near copies, four in a row: the two images, where each lies, and how alike they are."""
    cell, side = WIDTH / 4, 1.13
    height = side + 0.62
    figure, axes = _blank(WIDTH, height * -(-len(duplicates) // 4))
    for index, (pair, images) in enumerate(duplicates):
        x, y = cell * (index % 4) + 0.06, height * (index // 4) + 0.06
        for place, (path, image) in enumerate(zip((pair["of"], pair["path"]), images, strict=True)):
            left = x + place * (side + 0.08)
            _place(axes, image, left, y, side)
            axes.text(left + side / 2, y + side + 0.12, _place_name(path), ha="center", va="center", fontsize=8.5)
        mirrored = ", mirrored" if pair["mirrored"] else ""
        told = f"correlation {pair['similarity']:.2f}{mirrored}"
        axes.text(x + side + 0.04, y + side + 0.31, told, ha="center", va="center", fontsize=8.5, weight="bold")
    return figure


def _place_name(path: str) -> str:
    return clip("/".join(path.split("/")[-3:-1]), 20)


def draw_predictions(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """Ten rows of three test images: the picture, what it is, and what the model thinks it is.

    Right and wrong differ by colour, by the frame's line and by a tick or a cross.
    """
    cell_width, cell_height, side = WIDTH / 3, 1.3, 1.14
    num_rows = -(-len(predictions.examples) // 3)
    figure, axes = _blank(WIDTH, cell_height * num_rows)
    for index, (row, image) in enumerate(zip(predictions.examples, predictions.pixels, strict=True)):
        x, y = cell_width * (index % 3), cell_height * (index // 3) + 0.08
        true, probabilities = int(predictions.labels[row]), predictions.probabilities[row]
        ranking = np.argsort(-probabilities, kind="stable")
        right = ranking[0] == true
        color, line, mark = (RIGHT, "solid", "✓") if right else (WRONG, (0, (3, 1.5)), "✗")
        box = (x + 0.01, y - 0.045), cell_width - 0.08, cell_height - 0.07
        axes.add_patch(Rectangle(*box, color=color, alpha=0.08, linewidth=0, zorder=-1))
        _place(axes, image, x + 0.06, y, side)
        axes.add_patch(Rectangle((x + 0.06, y), side, side, fill=False, edgecolor=color, linewidth=2.6, linestyle=line))
        left, right_end = x + side + 0.2, x + cell_width - 0.16
        axes.text(left, y + 0.11, mark, fontsize=15, weight="bold", color=color, va="center")
        axes.text(left + 0.22, y + 0.12, clip(classes[true], 20), fontsize=10.5, weight="bold", va="center")
        shown = list(ranking[:3])
        if true not in shown:
            shown[-1] = true  # what it should have said is always in sight
        for place, choice in enumerate(shown):
            top = y + 0.29 + 0.29 * place
            confidence = float(probabilities[choice])
            strong = color if place == 0 else "#9aa5b1"
            axes.add_patch(Rectangle((left, top + 0.165), right_end - left, 0.06, color=GRID, linewidth=0))
            axes.add_patch(
                Rectangle((left, top + 0.165), (right_end - left) * confidence, 0.06, color=strong, linewidth=0)
            )
            weight = "bold" if place == 0 else "normal"
            name = clip(classes[choice], 18) + (" (true)" if choice == true and place else "")
            axes.text(left, top + 0.08, name, fontsize=8.5, va="center", weight=weight)
            axes.text(
                right_end, top + 0.08, percent(confidence, 0), fontsize=8.5, va="center", ha="right", weight=weight
            )
    return figure


def color_lines(axis: Axis) -> list[str]:
    """A colour for every trial by its accuracy: from pale for the worst to dark for the best."""
    colors = matplotlib.colormaps["YlGnBu"]
    return [matplotlib.colors.to_hex(colors(0.25 + 0.75 * (position or 0.0))) for position in axis.positions]


def draw_parallel(axes_data: Sequence[Axis]) -> Figure:
    """Parallel coordinates: a line a trial, coloured by accuracy, the best on top."""
    figure, axes = _blank(WIDTH, 4.2)
    xs = np.linspace(0.85, WIDTH - 0.85, len(axes_data))
    bottom, height = 3.95, 3.3  # the drawing's y runs downwards
    ys = [[None if p is None else bottom - height * p for p in axis.positions] for axis in axes_data]
    colors = color_lines(axes_data[-1])
    for line in np.argsort([position or 0.0 for position in axes_data[-1].positions], kind="stable"):
        given = [(x, y[line]) for x, y in zip(xs, ys, strict=True) if y[line] is not None]
        axes.plot(*zip(*given, strict=True), color=colors[line], linewidth=1.6, alpha=0.9)
    turned = len(axes_data) > 8
    for index, (x, axis) in enumerate(zip(xs, axes_data, strict=True)):
        axes.plot([x, x], [bottom, bottom - height], color=INK, linewidth=1, zorder=5)
        name = axis.label.replace("_", " ")
        axes.text(x, 0.52 if index % 2 and turned else 0.3, name, ha="center", va="center", fontsize=9.5, weight="bold")
        last = index == len(axes_data) - 1
        for position, text in axis.ticks:
            y = bottom - height * position
            axes.plot([x, x + (0.04 if last else -0.04)], [y, y], color=INK, linewidth=1, zorder=5)
            axes.text(
                x + (0.07 if last else -0.07), y, clip(text, 16), ha="left" if last else "right", va="center",
                fontsize=8.5, zorder=6, bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
            )  # fmt: skip
    return figure


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure to draw on freely, in inches from its upper left corner."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _place(axes: Axes, image: np.ndarray, x: float, y: float, side: float) -> None:
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(image, extent=(x, x + side, y + side, y), aspect="auto", interpolation="bicubic")
    axes.set(xlim=limits[0], ylim=limits[1])
