"""Learning curves."""

from epochs import make_epoch
from figure_contents import find_line

from keras_inat.intervals import Estimate
from keras_inat.reporting.charts.comparison import (
    ComparedModel,
    draw_training,
    draw_validation_by_epoch,
    draw_validation_by_time,
)


def make_model(epochs) -> ComparedModel:
    return ComparedModel("model", Estimate(0.8, 0.7, 0.9, 100, "images"), [0.8], "train-best", 1000, 20.0, epochs)


def test_training_and_validation_are_drawn_with_the_stages() -> None:
    epochs = [
        make_epoch(1, stage="head", accuracy=0.1, loss=2, val_accuracy=0.2, val_loss=9),
        make_epoch(2, stage="top", accuracy=0.2, loss=1, val_accuracy=0.2, val_loss=9),
    ]
    left, right = draw_training(epochs, 2, []).axes
    assert find_line(left, "training") == [(1, 0.1), (2, 0.2)]
    assert find_line(left, "validation") == [(1, 0.2), (2, 0.2)]
    assert find_line(right, "training") == [(1, 2), (2, 1)]
    assert find_line(right, "validation") == [(1, 9), (2, 9)]
    assert [text.get_text() for text in left.texts] == ["top"]
    assert find_line(left, "kept: epoch 2")[0][0] == 2


def test_models_are_compared_over_their_training_time() -> None:
    epochs = [make_epoch(number, val_accuracy=0.1 * number) for number in (1, 2)]
    (axes,) = draw_validation_by_time([make_model(epochs)]).axes
    assert find_line(axes, "model") == [(2.0, 0.1), (4.0, 0.2)]


def test_long_curves_have_no_markers() -> None:
    epochs = [make_epoch(number) for number in range(1, 61)]
    for figure in (
        draw_training(epochs, 2, []),
        draw_validation_by_time([make_model(epochs)]),
        draw_validation_by_epoch([("long", epochs)]),
    ):
        line = figure.axes[0].lines[0]
        assert (line.get_linestyle(), line.get_marker(), len(line.get_xdata())) == ("-", "", 60)
