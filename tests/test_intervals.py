"""Estimates and their confidence intervals against textbooks, SciPy and simulations."""

import numpy as np
import pytest
import scipy.stats

from keras_inat.intervals import (
    Estimate,
    balanced_accuracy_interval,
    balanced_accuracy_interval_over_seeds,
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


def test_balanced_interval_by_hand() -> None:
    # Clopper & Pearson: 8 of 10 has 0.4439 to 0.9748, and 0 of 5 has 0 to 1 - 0.025 ** (1 / 5) = 0.5218.
    low, high = balanced_accuracy_interval([8, 0], [10, 5])
    assert low == pytest.approx(0.4 - (0.8 - 0.4439) / 2, abs=1e-4)
    assert high == pytest.approx(0.4 + np.hypot(0.9748 - 0.8, 0.5218) / 2, abs=1e-4)
    # A class without images has no recall, and one class alone has its own interval.
    assert balanced_accuracy_interval([8, 0], [10, 0]) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert balanced_accuracy_interval([3, 7], [3, 7])[1] == 1


def test_classes_of_one_kind_of_outcome_have_exact_intervals() -> None:
    for correct, support in (([0, 150], [6, 150]), ([6, 150], [6, 150])):
        ends = [scipy.stats.binomtest(*pair).proportion_ci() for pair in zip(correct, support, strict=True)]
        recalls = np.divide(correct, support)
        low, high = balanced_accuracy_interval(correct, support)
        assert recalls.mean() - low == pytest.approx(np.hypot(*(recalls - [end.low for end in ends])) / 2)
        assert high - recalls.mean() == pytest.approx(np.hypot(*([end.high for end in ends] - recalls)) / 2)


@pytest.mark.parametrize(
    ("support", "recalls"),
    [
        ((150, 6), (0.99, 0.05)),
        ((150, 6), (0.95, 0.5)),
        ((30, 6), (0.9, 0.9)),
        ((100, 50, 20, 6), (0.97, 0.9, 0.8, 0.97)),
        ((500, 6, 6, 6, 6), (0.99, 0.8, 0.8, 0.8, 0.8)),
    ],
)
def test_balanced_interval_covers_with_six_images_in_the_small_class(support, recalls) -> None:
    drawn = np.random.default_rng(0).binomial(support, recalls, (2000, len(support)))
    covered = 0
    for correct in drawn:
        low, high = balanced_accuracy_interval(correct.tolist(), support)
        covered += low <= np.mean(recalls) <= high
    assert covered / len(drawn) >= 0.93


def test_balanced_interval_over_seeds_has_both_variations() -> None:
    # Two seeds with recalls (1, 0.5) and (1, 0.7): balanced accuracies 0.75 and 0.85.
    interval = balanced_accuracy_interval_over_seeds([(20, 5), (20, 7)], (20, 10))
    low, high = balanced_accuracy_interval([20, 6], [20, 10])
    seeds = mean_interval([0.75, 0.85])
    assert interval[0] == pytest.approx(max(0, 0.8 - np.hypot(0.8 - low, 0.8 - seeds[0])))
    assert interval[1] == min(1, 0.8 + np.hypot(high - 0.8, seeds[1] - 0.8)) == 1
    # Equal seeds leave the variation over images.
    equal = balanced_accuracy_interval_over_seeds([(20, 6), (20, 6), (20, 6)], (20, 10))
    assert equal == pytest.approx((low, high))
