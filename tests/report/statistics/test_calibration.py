"""Calibration against numbers calculated by hand, and in simulations."""

import numpy as np
import pytest
from predictions import make_predictions

from keras_inat.report.statistics.calibration import measure_calibration


def test_calibration_by_hand() -> None:
    """Four images with a confidence of 95 %, three of them correct; two with 55 %, one of them correct."""
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 2)
    calibration = measure_calibration(make_predictions(probabilities, [0, 0, 0, 1, 0, 1]))
    low, high = calibration.bins
    assert (low.confidence, low.accuracy.value, low.accuracy.num) == (pytest.approx(0.55), 0.5, 2)
    assert (high.confidence, high.accuracy.value, high.accuracy.num) == (pytest.approx(0.95), 0.75, 4)
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
