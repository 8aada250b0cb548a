"""The progress of a sweep, the learning curves of its trials and partial residual plots."""

from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
from figure_contents import find_line, list_texts

from keras_inat.intervals import Estimate
from keras_inat.reporting.charts.sweep import draw_partial_residuals, draw_sweep_progress, draw_trial_curves
from keras_inat.reporting.statistics.adjusted_effects import AdjustedEffect
from keras_inat.reporting.statistics.linear_model import LinearModel, build_factor
from keras_inat.store.records import Status, Trial
from keras_inat.style import ACCENT, MUTED, SCORES


def test_trials_are_drawn_by_status_with_the_best_so_far() -> None:
    times = [f"2026-11-01T08:0{minute}:00+00:00" for minute in range(5)]
    statuses = ("completed", "pruned", "completed", "failed", "completed")
    outcomes = zip(times, statuses, (0.4, 0.3, 0.5, None, 0.45), strict=True)
    trials = [
        Trial(id=str(number), values={}, settings={}, status=status, score=score, started=started)
        for number, (started, status, score) in enumerate(outcomes)
    ]
    (axes,) = draw_sweep_progress(trials).axes
    shown = {points.get_label(): points.get_offsets().tolist() for points in axes.collections}
    assert shown["pruned trial"] == [[1, 0.3]]
    assert shown["completed trial"] == [[0, 0.4], [2, 0.5], [4, 0.45]]
    assert find_line(axes, "best so far") == [(0, 0.4), (2, 0.5), (4, 0.5)]
    assert find_line(axes, "failed trial") == [(3, 0)]
    assert list_texts(axes.figure) == ["trial 2, 50.0 %"]
    assert axes.get_xlabel() == "creation time, minutes after the first trial"


def make_trial(number: str, status: Status, *curve: float) -> Trial:
    return Trial(id=number, values={}, settings={}, status=status, score=max(curve), val_accuracies=curve)


def test_learning_curves_of_trials_have_the_best_on_top_with_its_name() -> None:
    trials = [
        make_trial("0", "completed", 0.2, 0.5, 0.6),
        make_trial("1", "pruned", 0.1, 0.15),
        make_trial("2", "completed", 0.1, 0.2, 0.4),
    ]
    (axes,) = draw_trial_curves(trials, trials[0]).axes
    curves = [line for line in axes.lines if line.get_marker() == "None"]
    assert [list(line.get_ydata()) for line in curves] == [[0.1, 0.15], [0.1, 0.2, 0.4], [0.2, 0.5, 0.6]]
    # The pruned trial is below all completed ones and has the lowest color, too.
    assert [line.get_color() for line in curves] == [SCORES[0], SCORES[0], SCORES[-1]]
    ends = [(*line.get_xdata(), *line.get_ydata()) for line in axes.lines if line.get_marker() == "o"]
    assert ends == [(2, 0.15)]
    assert list_texts(axes.figure) == ["trial 0, 60.0 %"]


def test_points_are_the_fit_plus_residuals_and_the_clearest_effect_comes_first() -> None:
    rate = build_factor("t.rate", [0.1, 0.3, None], 1)
    flip = build_factor("a.flip", [True, False, True], 1)
    assert rate is not None
    assert flip is not None
    fitted = [np.array([0.5, 0.4, 0.5]), np.array([0.4, 0.6, 0.5])]  # of the flip and of the rate
    model = create_autospec(LinearModel, instance=True, factors=[flip, rate], scores=np.array([0.4, 0.6, 0.5]))
    model.fit_partially.return_value = fitted
    model.regression = SimpleNamespace(residuals=np.array([0.01, -0.02, 0.0]))
    effect = AdjustedEffect("t.rate", "from 0.1 to 0.3", Estimate(0.2, 0.1, 0.3, 2, "trials"))
    left, right, hidden = draw_partial_residuals(model, {"t.rate": effect}, "accuracy").axes
    assert [panel.get_title("left") for panel in (left, right)] == ["rate", "flip"]
    assert list_texts(left.figure) == ["from 0.1 to 0.3: +20.0 (+10.0 to +30.0)", "too few trials"]
    np.testing.assert_allclose(left.collections[0].get_offsets(), [[0.1, 0.41], [0.3, 0.58]])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [0.4, 0.6])  # after the line of the mean
    np.testing.assert_allclose(right.collections[0].get_offsets()[:, 1], [0.51, 0.38, 0.5])
    assert [label.get_text() for label in right.get_xticklabels()] == ["false", "true"]
    assert [text.get_color() for text in (*left.texts, *right.texts)] == [ACCENT, MUTED]
    assert not hidden.get_visible()
