"""The images of every class, the confusion matrix and the reliability diagram."""

import numpy as np
import pytest
from figure_contents import find_line
from matplotlib.colors import to_hex

from keras_inat.intervals import Estimate
from keras_inat.reporting.charts.classification import (
    MAX_ALPHA,
    describe_shown_classes,
    draw_class_counts,
    draw_confusion_matrix,
    draw_reliability_diagram,
)
from keras_inat.style import ACCENT, GRID, WRONG


def test_bars_are_those_of_the_training_and_of_the_test_images() -> None:
    (axes,) = draw_class_counts(["Aves", "Fungi", "Plantae"], [5, 6, 7], [1, 2, 3]).axes
    assert [bar.get_width() for bar in axes.patches] == [5, 6, 7, 1, 2, 3]


def test_the_number_of_shown_classes_is_stated() -> None:
    texts = [describe_shown_classes(number).replace("\xa0", " ") for number in (10, 100)]
    assert texts == ["all 10 classes", "the first 40 of 100 classes"]


CLASSES = ["Aves", "Fungi", "Plantae"]


def test_true_classes_are_in_rows() -> None:
    axes = draw_confusion_matrix(np.array([[3, 1, 0], [0, 2, 2], [0, 0, 5]]), CLASSES).axes[0]
    places = {text.get_position(): text.get_text() for text in axes.texts}
    assert places == {(0, 0): "75", (1, 0): "25", (1, 1): "50", (2, 1): "50", (2, 2): "100"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES


def test_cells_have_the_digits_of_the_table() -> None:
    axes = draw_confusion_matrix(np.array([[23, 17, 0], [0, 40, 0], [1, 0, 39]]), CLASSES).axes[0]
    assert [text.get_text() for text in axes.texts] == ["57.5", "42.5", "100", "2.5", "97.5"]
    # Where there is no room for a decimal, halves are rounded up.
    counts = np.diag([40] * 15)
    counts[0, :2] = (23, 17)
    axes = draw_confusion_matrix(counts, [f"class {number}" for number in range(15)]).axes[0]
    assert [text.get_text() for text in axes.texts][:2] == ["58", "43"]


def test_rare_errors_are_seen_beside_the_diagonal() -> None:
    figure = draw_confusion_matrix(np.array([[98, 2, 0], [1, 99, 0], [0, 0, 100]]), CLASSES)
    cells = np.array([patch.get_alpha() for patch in figure.axes[0].patches]).reshape(3, 3)
    colors = [to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches]
    assert colors == [ACCENT, WRONG, GRID, WRONG, ACCENT, GRID, GRID, GRID, ACCENT]
    assert cells[0, 1] == cells[2, 2] == MAX_ALPHA  # the largest error is as strong as a perfect class
    assert cells[1, 0] == pytest.approx((0.08 + MAX_ALPHA) / 2)
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "correct: 0 to\xa0100\xa0%",
        "errors: 0 to\xa02.0\xa0%",
    ]


def test_bins_have_their_accuracy_and_their_number_of_images() -> None:
    bins = [(0.3, Estimate(0.25, 0.1, 0.5, 8, "images")), (0.9, Estimate(0.8, 0.7, 0.95, 40, "images"))]
    upper, lower = draw_reliability_diagram(bins).axes
    assert find_line(upper, "accuracy, with 95 % interval") == [(0.3, 0.25)]
    assert [bar.get_height() for bar in lower.patches] == [8, 40]


def test_the_reliability_after_temperature_scaling_is_drawn_beside_that_before() -> None:
    bins = [(0.9, Estimate(0.8, 0.7, 0.95, 40, "images"))]
    upper, lower = draw_reliability_diagram(bins, [(0.82, Estimate(0.8, 0.7, 0.95, 40, "images"))]).axes
    assert find_line(upper, "accuracy, with 95 % interval") == [(0.9, 0.8)]
    assert find_line(upper, "after temperature scaling") == [(0.82, 0.8)]
    assert [bar.get_height() for bar in lower.patches] == [40]
