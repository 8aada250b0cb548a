"""Parallel coordinates."""

import pytest
from report_workshop import Workshop

from keras_inat.report.charts.parallel_coordinates import Axis, build_axes, draw_parallel_coordinates
from keras_inat.report.sweep_history import read_sweep


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
    data = [Axis("filters", [0.0, 1.0, None], [(0.0, "8"), (1.0, "16")]), Axis("accuracy", [0.5, 1.0, 0.0])]
    (axes,) = draw_parallel_coordinates(data).axes
    bottom = 3.95
    top = 3.95 - 3.3
    drawn = [line.get_ydata() for line in axes.lines[:3]]  # the worst trial first, so that the best is on top
    assert [list(map(float, ys)) for ys in drawn] == [[bottom], [bottom, (bottom + top) / 2], [top, top]]
    ticks = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert (ticks["8"], ticks["16"]) == (bottom, top)
