import numpy as np
import pytest

from keras_inat.search.extrapolation import MIN_VARIANCE, PRIOR_FRACTION, fit_extrapolation


def test_without_a_completed_trial_a_score_is_expected_to_stay():
    fit = fit_extrapolation(1, [], [[0.2], [0.4, 0.5]])
    assert fit.predict(0.3) == 0.3
    assert fit.variance == pytest.approx(PRIOR_FRACTION * 0.01)
    assert fit_extrapolation(2, [], [[0.2], [0.4, 0.5]]).variance == pytest.approx(PRIOR_FRACTION * MIN_VARIANCE)


def test_one_completed_trial_gives_its_gain_to_all():
    fit = fit_extrapolation(2, [[0.1, 0.2, 0.5], [0.9]], [[0.1, 0.2, 0.5], [0.0, 0.1]])
    assert fit.predict(0.1) == pytest.approx(0.4)


def make_curves(reverses):
    """Returns 40 curves of two epochs. The second score is higher than the first one by 0.1, or mirrors it."""
    starts = np.linspace(0.1, 0.4, 40)
    return [[start, (0.9 - start if reverses else start) + 0.1] for start in starts.tolist()]


def test_the_regression_follows_from_the_completed_trials():
    rising, mirrored = (fit_extrapolation(1, curves, curves) for curves in map(make_curves, (False, True)))
    assert rising.predict(0.4) == pytest.approx(0.5)
    assert rising.variance < PRIOR_FRACTION * 0.0076 / 10
    assert mirrored.predict(0.4) == pytest.approx(0.6, abs=0.01)
    assert mirrored.predict(0.1) == pytest.approx(0.9, abs=0.01)


def test_early_scores_that_mislead_have_a_large_variance():
    generator = np.random.default_rng(0)
    curves = [[start, end] for start, end in generator.uniform(0.1, 0.4, (40, 2)).tolist()]
    curves = [[start, max(start, end)] for start, end in curves]
    fits = [fit_extrapolation(1, chosen, chosen) for chosen in (curves, make_curves(False))]
    assert fits[0].variance > 5 * fits[1].variance
