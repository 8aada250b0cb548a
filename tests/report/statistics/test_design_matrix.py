"""Hyperparameters as columns."""

import numpy as np
import pytest

from keras_inat.report.statistics.design_matrix import build_factor


@pytest.mark.parametrize(("values", "logarithmic"), [([1e-4, 1e-3, 1e-2] * 4, True), ([0.1, 0.2, 0.3] * 4, False)])
def test_numbers_of_a_large_ratio_are_logarithmic(values, logarithmic):
    factor = build_factor("t.rate", values, 2)
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
