"""Parallel coordinates, and the colors of scores."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from report_workshop import Workshop

from keras_inat.plotting import WIDTH
from keras_inat.reporting.charts.parallel_coordinates import (
    NAME_SIZE,
    Axis,
    build_axes,
    color_positions,
    draw_parallel_coordinates,
    measure_width,
)
from keras_inat.reporting.formatting import percent
from keras_inat.reporting.sweep_history import read_sweep
from keras_inat.style import DARK, PAPER


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
    assert [text for _, text in accuracy.ticks] == [percent(number) for number in (0.2, 0.3, 0.4, 0.5, 0.6)]
    *_, accuracy = build_axes(read_sweep(workshop.add_sweep("one", settings[:1], [0.5])))
    assert accuracy.ticks == [(0.5, percent(0.5))]


def test_equal_values_lie_beside_each_other_the_best_on_top(workshop: Workshop) -> None:
    settings = [{"model.batch_norm": number < 3, "model.filters": 16 if number < 4 else 32} for number in range(5)]
    norm, filters, _ = build_axes(read_sweep(workshop.add_sweep("s", settings, [0.2, 0.6, 0.3, 0.4, 0.5])))
    assert norm.positions == pytest.approx([0.744, 0.756, 0.75, 0.247, 0.253])
    assert filters.positions == pytest.approx([0.0, 0.018, 0.006, 0.012, 1.0])  # within the axis


def test_many_numbers_have_round_ticks_between_the_lowest_and_the_highest(workshop: Workshop) -> None:
    settings = [
        {"training.learning_rate": 0.0003 * 1.37**number, "model.dropout": 0.013 * number} for number in range(10)
    ]
    sweep = workshop.add_sweep("s", settings, [0.4011, 0.4042] * 5)
    rate, dropout, accuracy = build_axes(read_sweep(sweep))
    assert [text for _, text in rate.ticks] == ["0.0003", "0.0005", "0.001", "0.002", "0.0051"]
    assert [text for _, text in dropout.ticks] == ["0", "0.025", "0.05", "0.075", "0.1", "0.12"]
    assert [text for _, text in accuracy.ticks] == [percent(number) for number in (0.401, 0.402, 0.403, 0.404)]
    assert rate.ticks[1][0] == pytest.approx(np.log(0.0005 / 0.0003) / np.log(1.37**9))


def test_axes_begin_at_the_bottom() -> None:
    data = [Axis("filters", [0.0, 1.0, None], [(0.0, "8"), (1.0, "16")]), Axis("accuracy", [0.5, 1.0, 0.0], [])]
    (axes,) = draw_parallel_coordinates(data).axes
    top = 0.45
    bottom = top + 3.5
    drawn = [line.get_ydata() for line in axes.lines[:3]]  # the worst trial first, so that the best is on top
    expected = [[bottom], [bottom, (bottom + top) / 2], [top, top]]
    assert [list(map(float, ys)) for ys in drawn] == [pytest.approx(ys) for ys in expected]
    ticks = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert (ticks["8"], ticks["16"]) == pytest.approx((bottom, top))


@pytest.mark.parametrize("count", range(2, 15))
def test_names_and_ticks_have_room_at_any_number_of_axes(count: int) -> None:
    name = "filter_organization"
    data = [Axis(name, [0.5], [(0.5, "a long name of a choice")]) for _ in range(count)]
    figure = draw_parallel_coordinates(data)
    texts = [(text.get_text(), *text.get_position(), text) for text in figure.axes[0].texts]
    names = [(x, y) for text, x, y, _ in texts if text == "filter organization"]
    half = measure_width("filter organization", NAME_SIZE, "bold") / 2
    assert len(names) == count
    for index, (x, y) in enumerate(names):
        assert half <= x + 1e-9
        assert x <= WIDTH - half + 1e-9
        assert y > 0.1
        for other_x, other_y in names[index + 1 :]:
            assert abs(other_x - x) > 2 * half or abs(other_y - y) > 0.15
    gap = 8.2 / (count - 1)
    *ticks, _ = [text for text, *_ in texts if text != "filter organization"]  # the last has the margin
    assert len(ticks) == count - 1
    assert all(measure_width(text, 8.5) < gap for text in ticks)


def measure_lightness(color: tuple[float, ...], ground: str) -> float:
    """Returns the relative luminance of a color with opacity on a ground."""
    mixed = np.array(color[:3]) * color[3] + np.array(to_rgba(ground)[:3]) * (1 - color[3])
    linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("ground", [PAPER, DARK[PAPER]])
def test_a_higher_score_stands_out_more_on_white_and_on_dark(ground: str) -> None:
    colors = [to_rgba(color) for color in color_positions(np.linspace(0, 1, 9).tolist())]
    base = measure_lightness((0, 0, 0, 0), ground)
    pairs = [sorted((base, measure_lightness(color, ground))) for color in colors]
    contrasts = [(light + 0.05) / (dark + 0.05) for dark, light in pairs]
    assert contrasts == sorted(contrasts)
    assert contrasts[0] < 2
    assert contrasts[-1] > 3.5
