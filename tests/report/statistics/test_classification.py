"""The confusion matrix, top-k accuracy and calibration."""

import numpy as np
import pytest
from predictions import make_predictions, predict

from keras_inat.report.statistics.classification import count_confusion, estimate_top_k, measure_calibration


def test_true_classes_are_in_rows() -> None:
    counts = count_confusion(predict([0, 0, 1, 2, 2], [0, 1, 1, 0, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]


def test_top_k_accuracy() -> None:
    predictions = make_predictions(np.array([[0.1, 0.2, 0.3, 0.4]] * 4), np.arange(4))
    assert [estimate_top_k(predictions, k).value for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert estimate_top_k(predictions).num == 4


def test_calibration_by_hand() -> None:
    """Four images with a confidence of 95 %, three of them correct; two with 55 %, one of them correct."""
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 2)
    calibration = measure_calibration(make_predictions(probabilities, [0, 0, 0, 1, 0, 1]))
    assert [(confidence, accuracy.value, accuracy.num) for confidence, accuracy in calibration.bins] == [
        (pytest.approx(0.55), 0.5, 2),
        (pytest.approx(0.95), 0.75, 4),
    ]
    assert calibration.error == pytest.approx((2 * 0.05 + 4 * 0.2) / 6)


def test_one_of_twenty_calibrated_models_exceeds_the_chance_limit() -> None:
    rng = np.random.default_rng(0)
    exceeded = []
    for _ in range(200):
        confidence = rng.uniform(0.5, 1, 150)
        labels = (rng.random(150) >= confidence).astype(int)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        calibration = measure_calibration(make_predictions(probabilities, labels))
        exceeded.append(calibration.error > calibration.chance_limit)
    assert 0.01 < np.mean(exceeded) < 0.1
