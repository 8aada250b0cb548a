"""Estimates and their confidence intervals against textbooks, SciPy and simulations."""

import numpy as np
import pytest
import scipy.stats

from keras_inat.intervals import (
    Estimate,
    correlate_ranks,
    estimate_mean,
    estimate_proportion,
    mean_interval,
    wilson_interval,
)


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


def test_proportion_has_wilsons_interval() -> None:
    # Wilson's interval of 8 out of 10, as printed in textbooks.
    estimate = estimate_proportion(8, 10)
    assert (estimate.value, estimate.num, estimate.unit) == (0.8, 10, "images")
    assert (estimate.low, estimate.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_mean_over_seeds_has_students_interval() -> None:
    # t(2, 0.975) = 4.3027; the standard deviation of 1, 2, 3 is 1.
    estimate = estimate_mean([1.0, 2.0, 3.0], "seeds")
    assert (estimate.value, estimate.num, estimate.unit) == (2.0, 3, "seeds")
    assert estimate.high - estimate.value == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert estimate.value - estimate.low == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)


def test_interval_excludes_zero_on_either_side() -> None:
    intervals = [(0.1, 0.3), (-0.3, -0.1), (-0.1, 0.3), (0.0, 0.2)]
    assert [Estimate(0.1, low, high, 9, "trials").excludes_zero for low, high in intervals] == [
        True,
        True,
        False,
        False,
    ]


def test_correlation_by_hand() -> None:
    first = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    second = np.array([2.0, 1, 4, 3, 6, 5, 8, 7])
    estimate = correlate_ranks(first, second)
    # The squared differences of ranks add up to 8: rho = 1 - 6 * 8 / (8 * 63).
    assert estimate.value == pytest.approx(1 - 48 / 504)
    # Bonett & Wright: tanh(atanh(rho) -+ 1.96 sqrt((1 + rho^2 / 2) / 5)).
    half = 1.959964 * np.sqrt((1 + (456 / 504) ** 2 / 2) / 5)
    assert estimate.low == pytest.approx(np.tanh(np.arctanh(456 / 504) - half))
    assert estimate.high == pytest.approx(np.tanh(np.arctanh(456 / 504) + half))
    assert (estimate.num, estimate.unit, estimate.excludes_zero) == (8, "trials", True)


def test_ties_get_their_mean_rank() -> None:
    # The ranks of the second are 1, 2.5, 2.5, 4: covariance 4.5, variances 5 and 4.5.
    estimate = correlate_ranks(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 2, 3]))
    assert estimate.value == pytest.approx(4.5 / np.sqrt(5 * 4.5))
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 30).astype(float)
    second = rng.integers(0, 4, 30).astype(float)
    assert correlate_ranks(first, second).value == pytest.approx(scipy.stats.spearmanr(first, second).statistic)


def test_perfect_correlation_is_finite() -> None:
    estimate = correlate_ranks(np.arange(8.0), -np.arange(8.0))
    assert (estimate.value, estimate.low, estimate.high) == (-1, -1, -1)
