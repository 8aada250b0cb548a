"""The images of every class, the confusion matrix and the reliability diagram."""

import numpy as np
from figure_contents import find_line

from keras_inat.intervals import Estimate
from keras_inat.reporting.charts.classification import (
    describe_shown_classes,
    draw_class_counts,
    draw_confusion_matrix,
    draw_reliability_diagram,
)


def test_bars_are_those_of_the_training_and_of_the_test_images() -> None:
    (axes,) = draw_class_counts(["Aves", "Fungi", "Plantae"], [5, 6, 7], [1, 2, 3]).axes
    assert [bar.get_width() for bar in axes.patches] == [5, 6, 7, 1, 2, 3]


def test_the_number_of_shown_classes_is_stated() -> None:
    texts = [describe_shown_classes(number).replace("\xa0", " ") for number in (10, 100)]
    assert texts == ["all 10 classes", "the first 40 of 100 classes"]


CLASSES = ["Aves", "Fungi", "Plantae"]


def test_true_classes_are_in_rows() -> None:
    figure = draw_confusion_matrix(np.array([[3, 1, 0], [0, 2, 2], [0, 0, 5]]), CLASSES)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]])
    places = {text.get_position(): text.get_text() for text in axes.texts}
    assert places == {(0, 0): "75", (1, 0): "25", (1, 1): "50", (2, 1): "50", (2, 2): "100"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES


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
