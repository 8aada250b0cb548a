"""Estimates and their confidence intervals against textbooks, SciPy and simulations."""

import numpy as np
import pytest
import scipy.stats
from simulated_seeds import Setup, simulate

from keras_inat.intervals import (
    Estimate,
    accuracy_interval,
    balanced_accuracy_interval,
    count_effective_images,
    difference_interval,
    estimate_mean,
    estimate_proportion,
    interval_over_seeds,
    mean_interval,
    mean_recall_interval,
    measure_residual,
    paired_interval,
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


# Three seeds on four images: by image 1, 2/3, 1/3, 0; by seed 3/4, 1/2, 1/4.
CORRECT = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)


def test_residual_by_hand() -> None:
    # The squares add up to 3. Seeds take 1/2 and images 5/3 of it, and the rest has 6 degrees of freedom.
    assert measure_residual(CORRECT) == pytest.approx((3 - 1 / 2 - 5 / 3) / 6 / 12)
    assert measure_residual(np.array([[0.3, 0.4], [0.5, 0.6]])) == pytest.approx(0)
    assert measure_residual(CORRECT[:1]) == 0


def test_effective_number_of_images_by_hand() -> None:
    # The variance of the mean over images is 5/9 / 3 / 4, that of binomial outcomes 1/4 / 4.
    assert count_effective_images(CORRECT) == pytest.approx(4 * (1 / 4) / (5 / 27))
    same = np.tile(np.arange(10) < 7, (3, 1))
    assert count_effective_images(same) == 10
    assert count_effective_images(np.ones((3, 10), bool)) == 10
    assert count_effective_images(np.array([[1, 0], [0, 1]], bool)) == 4  # at most seeds times images


def test_interval_over_seeds_by_hand() -> None:
    # Seeds have a variance of 0.04 and their mean one of 0.02. The interval of the images has a standard error of 0.1.
    images = (0.5 - 1.959964 * 0.1, 0.5 + 1.959964 * 0.1)
    values = [0.5 - 0.2 / 2**0.5, 0.5 + 0.2 / 2**0.5]
    weight = (0.02 / (0.02 + 0.01 / 2)) ** 2
    quantile = 12.706205  # Student's t with one degree of freedom
    half = np.sqrt(1.959964**2 * (0.01 - 0.004) + quantile**2 * 0.02 * weight)
    assert interval_over_seeds(0.5, images, values, residual=0.004) == pytest.approx((0.5 - half, 0.5 + half))
    # A residual that explains what the seeds differ by leaves the interval of the images.
    assert interval_over_seeds(0.5, images, [0.4999, 0.5001], residual=0.004) == pytest.approx(images)
    assert interval_over_seeds(0.5, images, [0.5, 0.5]) == interval_over_seeds(0.5, images, [0.5]) == images


def test_intervals_of_one_seed_cover_images_alone() -> None:
    correct = np.arange(40)[None] < 30
    assert accuracy_interval(correct) == pytest.approx(wilson_interval(30, 40))
    differences = np.r_[np.ones(8), np.zeros(30), -np.ones(2)]
    assert difference_interval(differences[None]) == pytest.approx(paired_interval(differences))
    labels = np.repeat([0, 1], [30, 10])
    assert mean_recall_interval(correct, labels) == pytest.approx(balanced_accuracy_interval([30, 0], [30, 10]))
    # Seeds that agree say no more than one.
    assert accuracy_interval(np.tile(correct, (3, 1))) == pytest.approx(wilson_interval(30, 40))
    again = mean_recall_interval(np.tile(correct, (3, 1)), labels)
    assert again == pytest.approx(balanced_accuracy_interval([30, 0], [30, 10]))


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("num_seeds", "points"), [(2, 0.0), (3, 0.0), (3, 2.0), (5, 2.0)])
def test_intervals_over_seeds_have_their_coverage(num_seeds: int, points: float, paired: bool) -> None:
    coverage, _ = simulate(Setup(num_seeds, 300, 0.7, points, 0.6, paired), 600)
    assert 0.925 <= coverage <= 0.985


@pytest.mark.parametrize("paired", [False, True])
def test_more_seeds_make_narrower_intervals(paired: bool) -> None:
    one, two, three, five = (simulate(Setup(number, 300, 0.7, 0.0, 0.6, paired), 300)[1] for number in (1, 2, 3, 5))
    assert five < three < two
    assert five < one
    assert three < 1.1 * one
