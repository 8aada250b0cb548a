"""What the charts show is what they are given: the texts, lines and pixels on them, not how they look."""

import numpy as np
import pytest

from keras_inat.report.charts import comparison, curves, image_grids
from keras_inat.report.charts.comparison import ComparedModel
from keras_inat.report.groups import Predictions, Trial
from keras_inat.report.statistics.estimates import Axis, Estimate

CLASSES = ["Aves", "Fungi", "Plantae"]


@pytest.fixture
def predictions() -> Predictions:
    """Nine test images, of which four are shown: of these the third is wrong."""
    labels = np.arange(9) % 3
    probabilities = np.full((9, 3), 0.1)
    probabilities[np.arange(9), labels] = 0.8
    probabilities[7] = [0.2, 0.1, 0.7]  # a fungus
    examples = np.array([3, 4, 7, 8])
    pixels = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    none = np.empty(0, np.int64)
    return Predictions(probabilities, labels, np.array(["x"] * 9), examples, pixels, none, none)


def list_texts(figure) -> list[str]:
    return [text.get_text().replace("\xa0", " ") for axes in figure.axes for text in axes.texts]


def list_images(axes) -> list[int]:
    """The pixels shown, all of one value, from left to right and top to bottom."""
    ordered = sorted(axes.images, key=lambda image: (image.get_extent()[3], image.get_extent()[0]))
    return [int(np.unique(image.get_array()).item()) for image in ordered]


def find_line(axes, label):
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return list(zip(*(np.asarray(data).tolist() for data in line.get_data()), strict=True))


def test_predictions_are_beside_their_image(predictions: Predictions) -> None:
    figure = image_grids.draw_predictions(predictions, CLASSES)
    assert list_images(figure.axes[0]) == [0, 1, 2, 3]
    assert list_texts(figure) == [
        *("✓", "Aves", "Aves", "80 %", "Fungi", "10 %", "Plantae", "10 %"),
        *("✓", "Fungi", "Fungi", "80 %", "Aves", "10 %", "Plantae", "10 %"),
        *("✗", "Fungi", "Plantae", "70 %", "Aves", "20 %", "Fungi (true)", "10 %"),
        *("✓", "Plantae", "Plantae", "80 %", "Aves", "10 %", "Fungi", "10 %"),
    ]


def test_examples_have_their_class(predictions: Predictions) -> None:
    figure = image_grids.draw_examples(predictions, CLASSES)
    assert list_images(figure.axes[0]) == [0, 1, 2, 3]
    assert list_texts(figure) == ["Aves", "Fungi", "Fungi", "Plantae"]


def test_confusion_has_true_classes_in_rows() -> None:
    figure = curves.draw_confusion(np.array([[3, 1, 0], [0, 2, 2], [0, 0, 5]]), CLASSES)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]])
    places = {text.get_position(): text.get_text() for text in axes.texts}
    assert places == {(0, 0): "75", (1, 0): "25", (1, 1): "50", (2, 1): "50", (2, 2): "100"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES


def test_curves_are_of_training_and_of_validation() -> None:
    rows = [
        {"epoch": epoch, "stage": stage, "accuracy": 0.1 * epoch, "loss": 3 - epoch, "val_accuracy": 0.2, "val_loss": 9}
        for epoch, stage in ((1, "head"), (2, "top"))
    ]
    left, right = curves.draw_curves(rows, 2, []).axes
    assert find_line(left, "training") == [(1, 0.1), (2, 0.2)]
    assert find_line(left, "validation") == [(1, 0.2), (2, 0.2)]
    assert find_line(right, "training") == [(1, 2), (2, 1)]
    assert find_line(right, "validation") == [(1, 9), (2, 9)]
    assert [text.get_text() for text in left.texts] == ["top"]
    assert find_line(left, "kept: epoch 2")[0][0] == 2


def test_curves_of_many_epochs_are_lines_without_marks() -> None:
    measured = {"stage": "scratch", "accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0, "seconds": 2.0}
    rows = [{"epoch": epoch} | measured for epoch in range(1, 61)]
    compared_model = ComparedModel("long", Estimate(0.8, 0.7, 0.9, 100, "images"), [0.8], True, 1000, 20.0, rows)
    for figure in (
        curves.draw_curves(rows, 2, []),
        comparison.draw_learning_curves([compared_model]),
        comparison.draw_epochs([("long", rows)]),
    ):
        line = figure.axes[0].lines[0]
        assert (line.get_linestyle(), line.get_marker(), len(line.get_xdata())) == ("-", "", 60)


def test_progress_has_the_best_so_far() -> None:
    times = [f"2026-11-01T08:0{minute}:00+00:00" for minute in (0, 1, 2, 3)]
    given = zip(times, ("completed", "pruned", "completed", "failed"), (0.4, 0.3, 0.5, None), strict=True)
    trials = [
        Trial(str(number), status, score, {}, 1, 1, started, "")
        for number, (started, status, score) in enumerate(given)
    ]
    (axes,) = curves.draw_progress(trials).axes
    shown = {points.get_label(): points.get_offsets().tolist() for points in axes.collections}
    assert shown["stopped early"] == [[1, 0.3]]
    assert shown["a trial"] == [[0, 0.4], [2, 0.5]]
    assert find_line(axes, "best so far") == [(0, 0.4), (2, 0.5)]
    assert find_line(axes, "a failed trial") == [(3, 0)]
    assert list_texts(axes.figure) == ["trial 2, 50.0 %"]


def test_parallel_coordinates_run_from_the_bottom() -> None:
    axes_data = [Axis("filters", [0.0, 1.0, None], [(0.0, "8"), (1.0, "16")]), Axis("accuracy", [0.5, 1.0, 0.0])]
    (axes,) = image_grids.draw_parallel(axes_data).axes
    bottom, top = 3.95, 3.95 - 3.3
    drawn = [line.get_ydata() for line in axes.lines[:3]]  # the worst first, so that the best is on top
    assert [list(map(float, ys)) for ys in drawn] == [[bottom], [bottom, (bottom + top) / 2], [top, top]]
    ticks = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert (ticks["8"], ticks["16"]) == (bottom, top)


@pytest.fixture
def compared_models() -> list[ComparedModel]:
    rows = [{"epoch": epoch, "seconds": 2.0, "val_accuracy": 0.1 * epoch} for epoch in (1, 2)]
    return [
        ComparedModel("tuned", Estimate(0.8, 0.7, 0.9, 100, "images"), [0.8], False, 1000, 20.0, rows),
        ComparedModel("plain", Estimate(0.6, 0.5, 0.7, 2, "seeds"), [0.55, 0.65], True, 5000, 60.0, rows),
    ]


def test_accuracies_and_costs_are_of_their_contender(compared_models: list[ComparedModel]) -> None:
    (axes,) = comparison.draw_accuracies(compared_models, 0.25).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tuned", "plain"]
    bars = [line.get_data() for line in axes.lines if len(line.get_xdata()) == 2]
    spans = {tuple(map(float, ys)): tuple(map(float, xs)) for xs, ys in bars}
    assert (spans[0, 0], spans[1, 1]) == ((0.7, 0.9), (0.5, 0.7))
    assert axes.collections[0].get_offsets().tolist() == [[0.55, 1.2], [0.65, 1.2]]
    assert list_texts(axes.figure) == ["80.0 %", "60.0 %", "guessing"]
    left, right = comparison.draw_costs(compared_models).axes
    assert [find_line(left, name) for name in ("tuned", "plain")] == [[(1000, 0.8)], [(5000, 0.6)]]
    assert [find_line(right, name) for name in ("tuned", "plain")] == [[(20, 0.8)], [(60, 0.6)]]
    (races,) = comparison.draw_learning_curves(compared_models).axes
    assert find_line(races, "plain") == [(2.0, 0.1), (4.0, 0.2)]


def test_calibration_and_class_counts() -> None:
    bins = [(0.3, Estimate(0.25, 0.1, 0.5, 8, "images")), (0.9, Estimate(0.8, 0.7, 0.95, 40, "images"))]
    upper, lower = curves.draw_reliability(bins).axes
    assert find_line(upper, "accuracy, with 95 % interval") == [(0.3, 0.25)]
    assert [bar.get_height() for bar in lower.patches] == [8, 40]
    (axes,) = curves.draw_class_counts(CLASSES, {"train": [5, 6, 7], "test": [1, 2, 3]}).axes
    assert [bar.get_width() for bar in axes.patches] == [5, 6, 7, 1, 2, 3]
