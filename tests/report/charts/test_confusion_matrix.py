"""The drawn confusion matrix."""

import numpy as np

from keras_inat.report.charts.confusion_matrix import draw_confusion_matrix

CLASSES = ["Aves", "Fungi", "Plantae"]


def test_true_classes_are_in_rows() -> None:
    figure = draw_confusion_matrix(np.array([[3, 1, 0], [0, 2, 2], [0, 0, 5]]), CLASSES)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]])
    places = {text.get_position(): text.get_text() for text in axes.texts}
    assert places == {(0, 0): "75", (1, 0): "25", (1, 1): "50", (2, 1): "50", (2, 2): "100"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES
