"""The reliability diagram: accuracy against confidence."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from keras_inat.plotting import ACCENT, MUTED, new_figure
from keras_inat.report.charts.axes import PERCENT, WIDTH
from keras_inat.report.statistics.estimates import Estimate


def draw_reliability_diagram(bins: Sequence[tuple[float, Estimate]]) -> Figure:
    """Draws accuracy against confidence, and the number of images at each confidence.

    Args:
        bins: Mean confidence and accuracy of the images in each bin.
    """
    figure = new_figure(0.72 * WIDTH, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfect calibration")
    for index, (confidence, accuracy) in enumerate(bins):
        label = "accuracy, with 95 % interval" if index == 0 else None
        ends = [accuracy.low, accuracy.high]
        upper.plot([confidence, confidence], ends, color=ACCENT, linewidth=2, solid_capstyle="butt")
        upper.plot(confidence, accuracy.value, "o", color=ACCENT, markersize=7, label=label)
    bars = lower.bar([confidence for confidence, _ in bins], [accuracy.num for _, accuracy in bins], 0.05, color=ACCENT)
    lower.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8, color=MUTED)
    lower.margins(y=0.25)
    for axes in (upper, lower):
        axes.xaxis.set_major_formatter(PERCENT)
    upper.yaxis.set_major_formatter(PERCENT)
    upper.set(xlim=(0, 1.03), ylim=(-0.02, 1.05), ylabel="accuracy")
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure
