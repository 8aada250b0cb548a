"""Comparisons of models, and the forest plot."""

import pytest
from figure_contents import find_line, list_texts

from keras_inat.intervals import Estimate
from keras_inat.plotting import new_figure, use_percent
from keras_inat.reporting.charts.comparison import (
    ComparedModel,
    draw_accuracies,
    draw_costs,
    draw_forest_plot,
    separate,
)


@pytest.fixture
def models() -> list[ComparedModel]:
    return [
        ComparedModel("tuned", Estimate(0.8, 0.7, 0.9, 100, "images"), [0.8], "finetune", 1000, 20.0, []),
        ComparedModel("plain", Estimate(0.6, 0.5, 0.7, 2, "seeds"), [0.55, 0.65], "train-best", 5000, 60.0, []),
    ]


def test_accuracies_are_in_the_row_of_their_model(models: list[ComparedModel]) -> None:
    (axes,) = draw_accuracies(models, 0.25).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tuned", "plain"]
    intervals = [line.get_data() for line in axes.lines if len(line.get_xdata()) == 2]
    ends = {tuple(map(float, ys)): tuple(map(float, xs)) for xs, ys in intervals}
    assert (ends[0, 0], ends[1, 1]) == ((0.7, 0.9), (0.5, 0.7))
    assert axes.collections[0].get_offsets().tolist() == [[0.55, 1.2], [0.65, 1.2]]
    assert list_texts(axes.figure) == ["80.0 %", "60.0 %", "guessing"]


def test_costs_are_those_of_their_model(models: list[ComparedModel]) -> None:
    left, right = draw_costs(models).axes
    assert [find_line(left, name) for name in ("tuned", "plain")] == [[(1000, 0.8)], [(5000, 0.6)]]
    assert [find_line(right, name) for name in ("tuned", "plain")] == [[(20, 0.8)], [(60, 0.6)]]


def test_separated_points_keep_their_order() -> None:
    assert separate([900.0, 870.0, 880.0, 2000.0]) == pytest.approx([870 * 1.09**2, 870, 870 * 1.09, 2000])


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
    assert axes.xaxis.get_major_formatter()(0.1) == "+10"


def test_ticks_have_the_digits_that_their_step_needs() -> None:
    (axes,) = draw_forest_plot([("small", Estimate(0.002, -0.004, 0.008, 40, "trials"))], "", in_points=True).axes
    axes.set_xticks([-0.0025, 0, 0.0025, 0.005, 0.0075])
    labels = axes.xaxis.get_major_formatter().format_ticks(axes.get_xticks())
    assert labels == ["−0.25", "0", "+0.25", "+0.50", "+0.75"]
    axes.set_xticks([-0.025, 0, 0.025])
    assert axes.xaxis.get_major_formatter().format_ticks(axes.get_xticks()) == ["−2.5", "0", "+2.5"]


def test_each_axis_in_percent_has_the_digits_of_its_own_range() -> None:
    wide, narrow = new_figure(4, 4).subplots(1, 2)
    use_percent(wide.xaxis, narrow.xaxis)
    narrow.set_xlim(0.50, 0.52)
    wide.set_xlim(0, 1)
    texts = [axes.xaxis.get_major_formatter()(0.5).replace("\xa0", " ") for axes in (wide, narrow)]
    assert texts == ["50 %", "50.00 %"]
