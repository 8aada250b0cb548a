"""Partial residual plots."""

import numpy as np

from keras_inat.report.charts.partial_residuals import draw_partial_residuals
from keras_inat.report.statistics.adjusted_effects import AdjustedEffect, AdjustedEffects
from keras_inat.report.statistics.design_matrix import build_factor
from keras_inat.report.statistics.estimates import Estimate


def test_points_are_the_fit_plus_residuals_and_titles_name_the_verdict() -> None:
    rate = build_factor("t.rate", [0.1, 0.3, None], 1)
    flip = build_factor("a.flip", [True, False, True], 1)
    assert rate is not None
    assert flip is not None
    adjusted = AdjustedEffects(
        effects=[AdjustedEffect("t.rate", "from 0.1 to 0.3", Estimate(0.2, 0.1, 0.3, 2, "trials"))],
        interactions=[],
        factors=[rate, flip],
        fitted={"t.rate": np.array([0.4, 0.6, 0.5]), "a.flip": np.array([0.5, 0.4, 0.5])},
        residuals=np.array([0.01, -0.02, 0.0]),
        aliased={},
        adjusted_r2=0.5,
        num_trials=3,
        excluded=[],
    )
    left, right, hidden = draw_partial_residuals(adjusted, "accuracy").axes
    assert [panel.get_title() for panel in (left, right)] == ["rate", "flip: not significant"]
    np.testing.assert_allclose(left.collections[0].get_offsets(), [[0.1, 0.41], [0.3, 0.58]])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.4, 0.6])
    np.testing.assert_allclose(right.collections[0].get_offsets()[:, 1], [0.51, 0.38, 0.5])
    assert [label.get_text() for label in right.get_xticklabels()] == ["false", "true"]
    assert not hidden.get_visible()
