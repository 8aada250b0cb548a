import numpy as np
import pytest

from keras_inat.search.gaussian_process import MAX_FITTED, fit_process

NOTHING = np.zeros((0, 2))


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(size=(30, 2))


def test_the_length_scale_of_an_input_without_effect_is_longer(x):
    process = fit_process(x, np.sin(4 * x[:, 0]), np.zeros(30), NOTHING)
    with_effect, without = process.kernel_.k1.k2.length_scale
    assert without > 2 * with_effect
    assert process.predict([[0.4, 0.1], [0.4, 0.9]]) == pytest.approx(np.sin(1.6), abs=0.05)


def test_an_uncertain_score_counts_less(x):
    scores = np.full(30, 0.5) + 0.01 * x[:, 0]
    scores[0] = 0.9
    variances = np.zeros(30)
    trusting = fit_process(x, scores, variances, NOTHING)
    variances[0] = 1.0
    doubting = fit_process(x, scores, variances, NOTHING)
    assert abs(doubting.predict(x[:1])[0] - 0.5) < abs(trusting.predict(x[:1])[0] - 0.5) / 2


def test_scores_far_below_the_others_do_not_decide_on_the_scale(x):
    scores = 0.7 + 0.1 * x[:, 0]
    scores[:10] = 0.1
    process = fit_process(x, scores, np.zeros(30), NOTHING)
    assert process.y_train_.min() * process._y_train_std + process._y_train_mean > 0.5


def test_a_pending_configuration_is_less_uncertain_and_has_the_same_mean(x):
    scores = np.sin(4 * x[:, 0])
    place = np.array([[2.0, 2.0]])
    without, with_it = (fit_process(x, scores, np.zeros(30), pending) for pending in (NOTHING, place))
    (mean,), (deviation,) = without.predict(place, return_std=True)
    (pending_mean,), (pending_deviation,) = with_it.predict(place, return_std=True)
    assert pending_mean == pytest.approx(mean, abs=0.05)
    assert pending_deviation < deviation / 2


def test_many_observations_are_all_used_although_few_are_fitted():
    x = np.random.default_rng(0).uniform(size=(2 * MAX_FITTED, 2))
    process = fit_process(x, x[:, 0], np.zeros(len(x)), NOTHING)
    assert len(process.X_train_) == 2 * MAX_FITTED
    assert process.predict(x) == pytest.approx(x[:, 0], abs=0.05)
