"""Confidence intervals against textbooks, SciPy and simulations."""

import numpy as np
import pytest
import scipy.stats

from keras_inat.intervals import mean_interval, wilson_interval


def test_wilson_interval_of_a_textbook():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0
    # The interval that result.json had for the same accuracy.
    assert wilson_interval(581, 1600) == pytest.approx((0.3399151020171407, 0.38699057336955767), abs=1e-9)


def test_wilson_interval_agrees_with_scipy():
    for total in (1, 2, 10, 1600):
        for correct in {0, 1, total // 2, total}:
            expected = scipy.stats.binomtest(correct, total).proportion_ci(method="wilson")
            assert wilson_interval(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-8)


def test_mean_interval_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for count in (2, 3, 20):
        values = rng.normal(0.5, 0.1, count)
        expected = scipy.stats.t.interval(0.95, count - 1, values.mean(), scipy.stats.sem(values))
        assert mean_interval(values.tolist()) == pytest.approx(expected, abs=1e-12)
