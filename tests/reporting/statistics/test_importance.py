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
    assert list(correlations) == ["model.filters", "model.activation"]  # the strongest first
    expected = scipy.stats.spearmanr([values["model.filters"] for values in settings], scores).statistic
    assert correlations["model.filters"] == (pytest.approx(expected), "")
    by_choice = {
        choice: scipy.stats.spearmanr([values["model.activation"] == choice for values in settings], scores).statistic
        for choice in ("relu", "gelu", "silu")
    }
    strongest = max(by_choice, key=lambda choice: abs(by_choice[choice]))
    assert correlations["model.activation"] == (pytest.approx(by_choice[strongest]), strongest)


def test_too_few_trials_have_no_correlations(workshop: Workshop) -> None:
    settings = [{"model.filters": 2**index} for index in range(7)]
    assert correlate_settings(read_sweep(workshop.add_sweep("s", settings, [0.1 * i for i in range(1, 8)]))) == {}


def test_hyperparameters_with_an_effect_are_important():
    rows = measure_importance(search(0, 100))
    for name in ("a.norm", RATE):
        assert rows[name] > 0.001
    for name in WITHOUT_EFFECT:
        assert abs(rows[name]) < min(rows["a.norm"], rows[RATE]) / 4
    assert list(rows.values()) == sorted(rows.values(), reverse=True)


def test_too_few_trials_have_no_importance():
    assert measure_importance(search(0, 20)) == {}
