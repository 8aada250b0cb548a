"""Rank correlations against numbers calculated by hand and by SciPy."""

import numpy as np
import pytest
import scipy.stats
from report_workshop import Workshop

from keras_inat.report.statistics.correlation import correlate_ranks, correlate_settings, encode_setting
from keras_inat.report.sweep_history import read_sweep


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
