"""Rank correlations and permutation importance of hyperparameters."""

import numpy as np
import pytest
import scipy.stats
from report_workshop import Workshop
from simulated_sweeps import RATE, WITHOUT_EFFECT, search

from keras_inat.reporting.statistics.importance import (
    correlate_settings,
    encode_setting,
    measure_importance,
)
from keras_inat.reporting.sweep_history import read_sweep


def test_settings_are_encoded_as_columns() -> None:
    assert encode_setting([1, 1, 1]) == []
    [(level, column)] = encode_setting([32, 64, 32])
    assert level == ""
    assert column.tolist() == [32, 64, 32]
    [(level, column)] = encode_setting([True, False, True, False])  # two choices are one row
    assert level == "true"
    assert column.tolist() == [1, 0, 1, 0]
    three = encode_setting(["relu", "gelu", "silu", "relu", "gelu", "gelu"])  # silu has a single trial
    assert [(level, column.tolist()) for level, column in three] == [
        ("gelu", [0, 1, 0, 0, 1, 1]),
        ("relu", [1, 0, 0, 1, 0, 0]),
    ]


def test_correlations_of_a_sweep(workshop: Workshop) -> None:
    settings = [
        {
            "model.filters": 16 * (1 + index % 2),
            "model.activation": ("relu", "gelu", "silu")[index % 3],
            "model.dropout": 0.2,
        }
        for index in range(30)
    ]
    rng = np.random.default_rng(2)
    scores = [0.3 + 0.1 * (index % 2) + rng.normal(0, 0.02) for index in range(30)]
    correlations = correlate_settings(read_sweep(workshop.add_sweep("s", settings, scores)))
    assert correlations[0].label == "filters"
    assert {correlation.label for correlation in correlations} == {
        "filters", "activation = relu", "activation = gelu", "activation = silu",
    }  # fmt: skip
    expected = scipy.stats.spearmanr([values["model.filters"] for values in settings], scores).statistic
    assert correlations[0].estimate.value == pytest.approx(expected)
    assert [correlation.estimate.excludes_zero for correlation in correlations] == [True, False, False, False]


def test_too_few_trials_have_no_correlations(workshop: Workshop) -> None:
    settings = [{"model.filters": 2**index} for index in range(7)]
    assert correlate_settings(read_sweep(workshop.add_sweep("s", settings, [0.1 * i for i in range(1, 8)]))) == []


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
