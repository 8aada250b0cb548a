"""Estimates against numbers calculated by hand."""

import numpy as np
import pytest

from keras_inat.report.statistics.estimates import Estimate, estimate_mean, estimate_proportion


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
