"""The confusion matrix."""

from predictions import predict

from keras_inat.report.statistics.confusion import count_confusion


def test_true_classes_are_in_rows() -> None:
    counts = count_confusion(predict([0, 0, 1, 2, 2], [0, 1, 1, 0, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]
