"""The progress of a sweep, parallel coordinates and partial residual plots."""

from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest
from figure_contents import find_line, list_texts
from report_workshop import Workshop

from keras_inat.intervals import Estimate
from keras_inat.reporting.charts.sweep import (
    Axis,
    build_axes,
    draw_parallel_coordinates,
    draw_partial_residuals,
    draw_sweep_progress,
)
from keras_inat.reporting.statistics.adjusted_effects import AdjustedEffect, AdjustedEffects
from keras_inat.reporting.statistics.linear_model import LinearModel, build_factor
from keras_inat.reporting.sweep_history import read_sweep
from keras_inat.store.records import Trial


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


def test_axes_of_choices_numbers_and_accuracy(workshop: Workshop) -> None:
    settings = [
        {"model.activation": "relu", "training.learning_rate": 1e-4},
        {"model.activation": "gelu", "training.learning_rate": 1e-3},
        {"training.learning_rate": 1e-2},
    ]
    activation, rate, accuracy = build_axes(read_sweep(workshop.add_sweep("s", settings, [0.2, 0.3, 0.6])))
    assert activation.ticks == [(0.25, "gelu"), (0.75, "relu")]
    assert activation.positions == [0.75, 0.25, None]
    assert rate.positions == pytest.approx([0, 0.5, 1])  # logarithmic
    assert [text for _, text in rate.ticks] == ["0.0001", "0.001", "0.01"]
    assert accuracy.positions == pytest.approx([0, 0.25, 1])
    assert [text for _, text in accuracy.ticks] == ["20.0 %", "30.0 %", "40.0 %", "50.0 %", "60.0 %"]
    *_, accuracy = build_axes(read_sweep(workshop.add_sweep("one", settings[:1], [0.5])))
    assert accuracy.ticks == [(0.5, "50.0 %")]


def test_axes_begin_at_the_bottom() -> None:
    data = [Axis("filters", [0.0, 1.0, None], [(0.0, "8"), (1.0, "16")]), Axis("accuracy", [0.5, 1.0, 0.0], [])]
    (axes,) = draw_parallel_coordinates(data).axes
    bottom = 3.95
    top = 3.95 - 3.3
    drawn = [line.get_ydata() for line in axes.lines[:3]]  # the worst trial first, so that the best is on top
    assert [list(map(float, ys)) for ys in drawn] == [[bottom], [bottom, (bottom + top) / 2], [top, top]]
    ticks = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert (ticks["8"], ticks["16"]) == (bottom, top)


def test_points_are_the_fit_plus_residuals_and_titles_name_the_verdict() -> None:
    rate = build_factor("t.rate", [0.1, 0.3, None], 1)
    flip = build_factor("a.flip", [True, False, True], 1)
    assert rate is not None
    assert flip is not None
    fitted = [np.array([0.4, 0.6, 0.5]), np.array([0.5, 0.4, 0.5])]  # of the rate and of the flip
    model = create_autospec(LinearModel, instance=True, factors=[rate, flip])
    model.fit_partially.return_value = fitted
    model.regression = SimpleNamespace(residuals=np.array([0.01, -0.02, 0.0]))
    effect = AdjustedEffect("t.rate", "from 0.1 to 0.3", Estimate(0.2, 0.1, 0.3, 2, "trials"))
    adjusted = AdjustedEffects([effect], interactions=[], model=model, aliased={}, excluded=[])
    left, right, hidden = draw_partial_residuals(adjusted, "accuracy").axes
    assert [panel.get_title() for panel in (left, right)] == ["rate", "flip: not significant"]
    np.testing.assert_allclose(left.collections[0].get_offsets(), [[0.1, 0.41], [0.3, 0.58]])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.4, 0.6])
    np.testing.assert_allclose(right.collections[0].get_offsets()[:, 1], [0.51, 0.38, 0.5])
    assert [label.get_text() for label in right.get_xticklabels()] == ["false", "true"]
    assert not hidden.get_visible()
