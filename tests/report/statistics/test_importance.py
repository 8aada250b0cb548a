"""Permutation importance of sweeps with known effects."""

from simulated_sweeps import RATE, WITHOUT_EFFECT, search

from keras_inat.report.statistics.importance import measure_importance


def test_hyperparameters_with_an_effect_are_important():
    rows = dict(measure_importance(search(0, 100)))
    for name in ("a.norm", RATE):
        assert rows[name].low > 0
    for name in WITHOUT_EFFECT:
        assert abs(rows[name].value) < min(rows["a.norm"].value, rows[RATE].value) / 4
    assert list(rows.values()) == sorted(rows.values(), key=lambda estimate: -estimate.value)


def test_too_few_trials_have_no_importance():
    assert measure_importance(search(0, 20)) == []


def test_without_any_effect_no_hyperparameter_is_important():
    for seed in range(4):
        rows = measure_importance(search(seed, 60, lambda settings, rng: 0.5 + rng.normal(0, 0.02)))
        assert not any(estimate.low > 0 for _, estimate in rows)
