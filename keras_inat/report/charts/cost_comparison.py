"""Test accuracy of several models against the cost of their training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from keras_inat.plotting import clip, new_figure
from keras_inat.report.charts.axes import PERCENT, WIDTH, use_time_scale
from keras_inat.report.charts.compared_models import ComparedModel, choose_style
from keras_inat.report.formatting import abbreviate


def draw_costs(models: Sequence[ComparedModel]) -> Figure:
    """Draws test accuracy against trained parameters and against training time, both on logarithmic scales."""
    figure = new_figure(WIDTH, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_models(left, models, [model.parameters for model in models])
    _draw_models(right, models, [model.seconds for model in models])
    left.xaxis.set_major_locator(LogLocator(numticks=5))
    left.xaxis.set_major_formatter(FuncFormatter(lambda number, _: abbreviate(number)))
    left.xaxis.set_minor_formatter(NullFormatter())
    use_time_scale(right)
    left.yaxis.set_major_formatter(PERCENT)
    left.set(xlabel="trained parameters", ylabel="test accuracy")
    right.set_xlabel("training time")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _draw_models(axes: Axes, models: Sequence[ComparedModel], costs: Sequence[float]) -> None:
    axes.set_xscale("log")
    positions = separate([max(float(cost), 1e-3) for cost in costs])
    for index, (model, x) in enumerate(zip(models, positions, strict=True)):
        color, marker = choose_style(index, model)
        low = model.accuracy.low
        high = model.accuracy.high
        axes.plot([x, x], [low, high], color=color, linewidth=2, solid_capstyle="butt")
        axes.plot(x, model.accuracy.value, marker, ls="", color=color, ms=8, label=clip(model.title, 40))
    axes.margins(x=0.15, y=0.12)


def separate(values: Sequence[float]) -> list[float]:
    """Increases values on a logarithmic scale where needed, so that no two of them cover each other."""
    positions = list(values)
    last = 0.0
    for index in np.argsort(values, kind="stable"):
        last = max(values[index], 1.09 * last)
        positions[index] = last
    return positions
