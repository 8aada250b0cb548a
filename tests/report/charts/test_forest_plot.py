"""The forest plot."""

from keras_inat.report.charts.forest_plot import draw_forest_plot
from keras_inat.report.statistics.estimates import Estimate


def test_significant_estimates_are_filled() -> None:
    rows = [
        ("clear", Estimate(0.2, 0.1, 0.3, 40, "trials")),
        ("inconclusive", Estimate(0.1, -0.1, 0.3, 40, "trials")),
    ]
    (axes,) = draw_forest_plot(rows, "difference", in_points=True).axes
    intervals = [line for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2]
    assert [tuple(map(float, line.get_xdata())) for line in intervals[:2]] == [(0.1, 0.3), (-0.1, 0.3)]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [point.get_markerfacecolor() == point.get_color() for point in points] == [True, False]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["clear", "inconclusive"]
    assert axes.xaxis.get_major_formatter()(0.1) == "+10.0"
