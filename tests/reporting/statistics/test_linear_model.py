"""The linear model and its columns against numbers calculated by hand and by NumPy."""

import numpy as np
import pytest
import scipy.stats

from keras_inat.reporting.statistics.linear_model import (
    LinearModel,
    build_factor,
    count_effective_trials,
    fit_regression,
    simulate_max_t,
)


@pytest.mark.parametrize(("values", "logarithmic"), [([1e-4, 1e-3, 1e-2] * 4, True), ([0.01, 0.25, 0.49] * 4, False)])
def test_a_number_has_the_given_scale(values, logarithmic):
    factor = build_factor("t.rate", values, 2, logarithmic)
    assert factor.logarithmic is logarithmic
    np.testing.assert_allclose(factor.columns[:3], [[-1, 1], [0, 0], [1, 1]], atol=1e-9)


def test_integers_and_floats_are_one_scale():
    factor = build_factor("a.width", [2, 0.5, 3, 2.5] * 3, 1)
    assert [value for value, _ in factor.points] == [0.5, 3]


def test_choices_are_indicators_of_all_but_the_first():
    factor = build_factor("a.activation", ["relu", "gelu", None, "silu"], 1)
    assert [value for value, _ in factor.points] == ["gelu", "relu", "silu"]
    assert factor.columns.tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]
    assert build_factor("a.activation", ["relu", None, "relu"], 1) is None


def test_regression_by_hand():
    scores = np.array([1.0, 2, 3, 6])
    regression = fit_regression(np.ones((4, 1)), scores)
    assert regression.coefficients == pytest.approx([3])
    assert regression.residuals == pytest.approx([-2, -1, 0, 3])
    # HC3: every leverage is 1/4, so the residuals are divided by 3/4; then the sum of squares by n squared.
    assert regression.covariance.item() == pytest.approx((4 + 1 + 0 + 9) / (3 / 4) ** 2 / 16)


def test_regression_agrees_with_numpy():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(20, 3))
    scores = rng.normal(size=20)
    regression = fit_regression(matrix, scores)
    assert regression.coefficients == pytest.approx(np.linalg.lstsq(matrix, scores, rcond=None)[0])
    assert regression.influence @ scores == pytest.approx(regression.coefficients)


def test_model_of_one_factor():
    factor = build_factor("a.norm", [True, False] * 10, 1)
    scores = np.array([0.6, 0.4] * 10) + np.array([0.01] * 2 + [-0.01] * 2 + [0] * 16)
    model = LinearModel([factor], scores)
    assert model.matrix.shape == (20, 2)
    assert model.degrees_of_freedom == 18
    assert model.fit_partially()[0] == pytest.approx([0.6, 0.4] * 10)
    # The residual variance is 4 * 0.01 ** 2 / 20, the variance of the fit 0.01.
    assert model.adjusted_r2 == pytest.approx(1 - 0.00002 / 0.01002 * 19 / 18)


def test_effective_number_of_trials():
    mean = np.full(10, 1 / 10)
    outlier = np.array([-1.0] + [1 / 9] * 9)
    assert count_effective_trials(np.array([mean, outlier])) == pytest.approx([10, (1 + 1 / 9) ** 2 / (1 + 9 / 9**4)])


def test_simultaneous_quantile_grows_with_the_number_of_statistics():
    one = pytest.approx(scipy.stats.t.ppf(0.975, 20), rel=0.03)
    assert simulate_max_t(np.eye(1), 20) == one
    assert simulate_max_t(np.ones((10, 10)), 20) == one  # statistics that are all equal
    # Independent statistics all stay below q with probability (1 - 2 * sf(q)) ** 10.
    ten = simulate_max_t(np.eye(10), 1000)
    assert ten == pytest.approx(scipy.stats.norm.isf((1 - 0.95**0.1) / 2), rel=0.03)
