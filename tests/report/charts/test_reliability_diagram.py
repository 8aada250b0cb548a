"""The reliability diagram."""

from figure_contents import find_line

from keras_inat.report.charts.reliability_diagram import draw_reliability_diagram
from keras_inat.report.statistics.estimates import Estimate


def test_bins_have_their_accuracy_and_their_number_of_images() -> None:
    bins = [(0.3, Estimate(0.25, 0.1, 0.5, 8, "images")), (0.9, Estimate(0.8, 0.7, 0.95, 40, "images"))]
    upper, lower = draw_reliability_diagram(bins).axes
    assert find_line(upper, "accuracy, with 95 % interval") == [(0.3, 0.25)]
    assert [bar.get_height() for bar in lower.patches] == [8, 40]
