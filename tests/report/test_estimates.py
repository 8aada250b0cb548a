"""The numbers, against numbers worked out by hand or by others."""

import numpy as np
import pytest
import scipy.stats
from report_workshop import Workshop

from keras_inat.report import formatting
from keras_inat.report.groups import Predictions
from keras_inat.report.history import group_seeds, parse_cell, read_history, read_sweep
from keras_inat.report.statistics.estimates import (
    Estimate,
    build_axes,
    compare_classes,
    compare_groups,
    compare_predictions,
    correlate,
    count_confusion,
    encode,
    estimate_accuracy,
    estimate_mean,
    estimate_share,
    estimate_top,
    find_best_so_far,
    measure_calibration,
    measure_effects,
)


def _predict(labels: list[int], predicted: list[int]) -> Predictions:
    files = np.array([str(index) for index in range(len(labels))])
    return Predictions(
        np.eye(3)[predicted], np.array(labels), files, *[np.arange(1), np.zeros((1, 2, 2, 3), np.uint8)] * 2
    )


def test_share_has_wilsons_interval() -> None:
    # Wilson's interval of 8 out of 10, as printed in textbooks.
    estimate = estimate_share(8, 10)
    assert (estimate.value, estimate.num) == (0.8, 10)
    assert estimate.low == pytest.approx(0.4902, abs=1e-4)
    assert estimate.high == pytest.approx(0.9433, abs=1e-4)
    assert estimate_share(0, 10).low == 0
    exact = scipy.stats.binomtest(581, 1600).proportion_ci(method="wilson")
    estimate = estimate_share(581, 1600)
    # The interval that result.json states for the same run.
    assert (estimate.low, estimate.high) == pytest.approx((0.3399151020171407, 0.38699057336955767), abs=1e-9)
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_mean_over_seeds_has_students_interval() -> None:
    # t(2, 0.975) = 4.3027; the standard deviation of 1, 2, 3 is 1.
    estimate = estimate_mean([1.0, 2.0, 3.0], "seeds")
    assert (estimate.value, estimate.num, estimate.unit) == (2.0, 3, "seeds")
    assert estimate.high - estimate.value == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert estimate.value - estimate.low == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)


def test_correlation_by_hand() -> None:
    first, second = np.array([1.0, 2, 3, 4, 5, 6, 7, 8]), np.array([2.0, 1, 4, 3, 6, 5, 8, 7])
    estimate = correlate(first, second)
    # The squared differences of ranks add up to 8: rho = 1 - 6 * 8 / (8 * 63).
    assert estimate.value == pytest.approx(1 - 48 / 504)
    # Bonett & Wright: tanh(atanh(rho) -+ 1.96 sqrt((1 + rho^2 / 2) / 5)).
    half = 1.959964 * np.sqrt((1 + (456 / 504) ** 2 / 2) / 5)
    assert estimate.low == pytest.approx(np.tanh(np.arctanh(456 / 504) - half))
    assert estimate.high == pytest.approx(np.tanh(np.arctanh(456 / 504) + half))
    assert (estimate.num, estimate.unit, estimate.excludes_zero) == (8, "trials", True)


def test_correlation_shares_ranks_among_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, 30).astype(float), rng.integers(0, 4, 30).astype(float)
    assert correlate(first, second).value == pytest.approx(scipy.stats.spearmanr(first, second).statistic)


def test_perfect_correlation_is_finite() -> None:
    estimate = correlate(np.arange(8.0), -np.arange(8.0))
    assert (estimate.value, estimate.low, estimate.high) == (-1, -1, -1)


def test_hyperparameters_as_columns_of_numbers() -> None:
    assert encode([1, 1, 1]) == []
    [(level, column)] = encode([32, 64, 32])
    assert level == ""
    assert column.tolist() == [32, 64, 32]
    [(level, column)] = encode([True, False, True, False])  # two choices are one row
    assert level == "true"
    assert column.tolist() == [1, 0, 1, 0]
    three = encode(["relu", "gelu", "silu", "relu", "gelu", "gelu"])  # silu was tried once: nothing can be said of it
    assert [(level, column.tolist()) for level, column in three] == [
        ("gelu", [0, 1, 0, 0, 1, 1]),
        ("relu", [1, 0, 0, 1, 0, 0]),
    ]


def test_paired_difference_by_hand() -> None:
    labels = [0] * 50 + [1] * 50
    first = _predict(labels, [0] * 50 + [0] * 50)  # right on the first 50
    second = _predict(labels, [0] * 40 + [1] * 60)  # loses 10 of those, gains the other 50
    gain = compare_predictions([(first, second)])
    assert gain is not None
    assert (gain.value, gain.num) == (0.4, 100)
    more, less = 51 / 102, 11 / 102
    half = 1.959964 * np.sqrt((more + less - (more - less) ** 2) / 102)
    assert (gain.low, gain.high) == pytest.approx((more - less - half, more - less + half))
    assert compare_predictions([(first, _predict(labels[:99], [0] * 99))]) is None  # other images
    assert compare_predictions([]) is None


@pytest.mark.parametrize("gained", [[10], [10, 0], [8, 0]])
def test_a_gain_is_100_points_at_the_most(gained: list[int]) -> None:
    nothing = _predict([0] * 10, [1] * 10)
    gain = compare_predictions([(nothing, _predict([0] * 10, [0] * num + [1] * (10 - num))) for num in gained])
    assert gain is not None
    assert gain.high == 1.0
    assert -1.0 <= gain.low < gain.value == pytest.approx(np.mean(gained) / 10)


def test_classes_are_compared_one_by_one() -> None:
    labels = [0] * 30 + [1] * 30
    first, second = _predict(labels, [0] * 60), _predict(labels, [0] * 20 + [1] * 40)
    gains = compare_classes(first, second, ["a", "b", "c"])  # of the last there is no image
    assert [(name, gain.value, gain.num) for name, gain in gains] == [("b", 1.0, 30), ("a", pytest.approx(-1 / 3), 30)]
    assert all(gain.excludes_zero for _, gain in gains)
    assert compare_classes(first, _predict(labels[:50], [0] * 50), ["a", "b", "c"]) == []  # other images


def test_groups_are_compared_over_the_seeds_that_both_have(workshop: Workshop) -> None:
    for seed, (first, second) in enumerate([(50, 60), (52, 65), (54, 63), (99, None)]):
        workshop.add_run(name="a", seed=seed, correct=first)
        if second:
            workshop.add_run(name="b", seed=seed, correct=second)
    groups = {group.best.name: group for group in group_seeds(read_history(workshop.runs).records)}
    gain = compare_groups(groups["a"], groups["b"])
    assert gain is not None
    assert (gain.value, gain.num, gain.unit) == (pytest.approx(0.32 / 3), 3, "seeds")
    seeds = 4.302653 * np.std([0.10, 0.13, 0.09], ddof=1) / 3**0.5  # Student's t of two degrees of freedom
    # The workshop's models are right on the first images: 2 more of one seed, 4 of two, 5 of all three, and so on back.
    by_image = np.array([1 / 3] * 2 + [2 / 3] * 2 + [1] * 6 + [2 / 3] * 3 + [1 / 3] * 2 + [0] * 85)
    assert by_image.sum() == pytest.approx(32 / 3)
    mean = by_image.sum() / 102
    images = 1.959964 * np.sqrt((((by_image**2).sum() + 2) / 102 - mean**2) / 102)
    assert gain.low == pytest.approx(gain.value - np.hypot(seeds, gain.value - mean + images))
    assert gain.high == pytest.approx(gain.value + np.hypot(seeds, mean + images - gain.value))
    workshop.add_run(name="c", seed=0, correct=70)
    alone = next(group for group in group_seeds(read_history(workshop.runs).records) if group.best.name == "c")
    gain = compare_groups(groups["b"], alone)
    assert gain is not None
    assert (gain.num, gain.unit) == (100, "images")


def test_paired_difference_holds_its_word() -> None:
    rng = np.random.default_rng(1)
    labels, missed = [0] * 200, 0
    for _ in range(400):
        easy = rng.random(200)
        first, second = (easy < 0.5).astype(int), (easy + rng.normal(0, 0.1, 200) < 0.5).astype(int)
        gain = compare_predictions([(_predict(labels, first.tolist()), _predict(labels, second.tolist()))])
        assert gain is not None
        missed += gain.excludes_zero
    assert missed <= 0.08 * 400


@pytest.mark.parametrize("decided", [1.0, 0.2, 0.1, 0.0])
def test_a_verdict_over_seeds_holds_for_other_images(decided: float) -> None:
    """Two configurations of equal worth; a seed decides that part of the images, the configuration the others."""
    rng = np.random.default_rng(2)
    labels, missed = [0] * 200, 0
    for _ in range(200):
        theirs = rng.random((2, 200)) < 0.3
        pairs = [
            tuple(np.where(rng.random(200) < decided, rng.random(200) < 0.3, own).astype(int) for own in theirs)
            for _ in range(3)
        ]
        gain = compare_predictions([(_predict(labels, a.tolist()), _predict(labels, b.tolist())) for a, b in pairs])
        assert gain is not None
        missed += gain.excludes_zero
    assert missed <= 0.08 * 200


def test_confusion_counts_true_by_row() -> None:
    counts = count_confusion(_predict([0, 0, 1, 2, 2], [0, 1, 1, 0, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]


def test_calibration_by_hand() -> None:
    """Four images 95 % sure, three of them right; two 55 % sure, one right."""
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 2)
    none = np.zeros(0, int)
    predictions = Predictions(probabilities, np.array([0, 0, 0, 1, 0, 1]), none, none, none, none, none)
    (low, high), error, _ = measure_calibration(predictions)
    assert (low[0], low[1].value, low[1].num) == (pytest.approx(0.55), 0.5, 2)
    assert (high[0], high[1].value, high[1].num) == (pytest.approx(0.95), 0.75, 4)
    assert error == pytest.approx((2 * 0.05 + 4 * 0.2) / 6)


def test_chance_alone_calibrates_no_better_than_so() -> None:
    """Of models that are right as often as they say, one in twenty is off by more than is said to be chance."""
    rng, none, above = np.random.default_rng(0), np.zeros(0, int), []
    for _ in range(200):
        confidence = rng.uniform(0.5, 1, 150)
        labels = (rng.random(150) >= confidence).astype(int)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        _, error, chance = measure_calibration(Predictions(probabilities, labels, *[none] * 5))
        above.append(error > chance)
    assert 0.01 < np.mean(above) < 0.1


def test_the_true_class_among_the_first() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4]] * 4)
    none = np.zeros(0, int)
    predictions = Predictions(probabilities, np.arange(4), none, none, none, none, none)
    assert [estimate_top(predictions, count).value for count in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert estimate_top(predictions).num == 4


def test_best_so_far(workshop: Workshop) -> None:
    folder = workshop.add_sweep("s", [{"model.filters": 8}] * 5, [0.3, 0.2, None, 0.5, 0.4])
    sweep = read_sweep(folder)
    assert find_best_so_far(sweep.completed) == [0.3, 0.3, 0.5, 0.5]
    assert sweep.best is not None
    assert sweep.best.id == "003"
    assert find_best_so_far([]) == []


def test_effects_of_a_sweep(workshop: Workshop) -> None:
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
    effects = measure_effects(read_sweep(workshop.add_sweep("s", settings, scores)))
    assert effects[0].label == "filters"
    assert {effect.label for effect in effects} == {
        "filters", "activation = relu", "activation = gelu", "activation = silu",
    }  # fmt: skip
    expected = scipy.stats.spearmanr([values["model.filters"] for values in settings], scores).statistic
    assert effects[0].estimate.value == pytest.approx(expected)
    assert [effect.estimate.excludes_zero for effect in effects] == [True, False, False, False]


def test_too_few_trials_say_nothing(workshop: Workshop) -> None:
    settings = [{"model.filters": 2**index} for index in range(7)]
    assert measure_effects(read_sweep(workshop.add_sweep("s", settings, [0.1 * i for i in range(1, 8)]))) == []


def test_axes(workshop: Workshop) -> None:
    settings = [
        {"model.activation": "relu", "training.learning_rate": 1e-4},
        {"model.activation": "gelu", "training.learning_rate": 1e-3},
        {"model.activation": None, "training.learning_rate": 1e-2},
    ]
    activation, rate, accuracy = build_axes(read_sweep(workshop.add_sweep("s", settings, [0.2, 0.3, 0.6])))
    assert activation.ticks == [(0.25, "gelu"), (0.75, "relu")]
    assert activation.positions == [0.75, 0.25, None]
    assert rate.positions == pytest.approx([0, 0.5, 1])  # by factors, not differences
    assert [text for _, text in rate.ticks] == ["0.0001", "0.001", "0.01"]
    assert accuracy.positions == pytest.approx([0, 0.25, 1])
    assert [text for _, text in accuracy.ticks] == ["20.0 %", "30.0 %", "40.0 %", "50.0 %", "60.0 %"]
    *_, accuracy = build_axes(read_sweep(workshop.add_sweep("one", settings[:1], [0.5])))
    assert accuracy.ticks == [(0.5, "50.0 %")]


def test_seeds_are_grouped(workshop: Workshop) -> None:
    for seed, correct in ((0, 60), (1, 64), (2, 68)):
        workshop.add_run(seed=seed, correct=correct)
    workshop.add_run(seed=2, correct=62)  # run again: the newest counts
    workshop.add_run(seed=0, correct=50, settings={"training.learning_rate": 1e-4})
    groups = group_seeds(read_history(workshop.runs).records)
    assert [[record.result["seed"] for record in group.records] for group in groups] == [[0, 1, 2], [0]]
    estimate = estimate_accuracy(groups[0])
    assert estimate is not None
    assert (estimate.value, estimate.num, estimate.unit) == (pytest.approx(0.62), 3, "seeds")
    seeds, images = 4.302653 * 0.02 / 3**0.5, estimate_share(62, 100)
    assert estimate.low == pytest.approx(0.62 - np.hypot(seeds, 0.62 - images.low))
    assert estimate.high == pytest.approx(0.62 + np.hypot(seeds, images.high - 0.62))
    assert estimate_accuracy(groups[1]) == estimate_share(50, 100)


def test_data_sets_are_told_apart_by_hash(workshop: Workshop) -> None:
    workshop.add_run(data=workshop.describe_data("one"))
    workshop.add_run(data=workshop.describe_data("two"))
    workshop.add_run(data=workshop.describe_data("two", hash="other"))
    workshop.add_sweep("s", [{"model.filters": 8}], [0.5], workshop.describe_data("two"))
    data_sets = read_history(workshop.runs).data_sets
    assert [(data_set.name, len(data_set.groups), len(data_set.sweeps)) for data_set in data_sets] == [
        ("two", 1, 1),
        ("one", 1, 0),
        ("two", 1, 0),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("True", True), ("32", 32), ("1e-3", 0.001), ("nan", None), ("[3, 3]", "[3, 3]"), ("gelu", "gelu")],
)
def test_cells_are_read_as_what_they_were(text: str, value: object) -> None:
    assert parse_cell(text) == value
    assert type(parse_cell(text)) is type(value)


def test_wording() -> None:
    estimate = Estimate(0.62125, 0.597, 0.6445, 1600, "images")
    assert formatting.share(estimate).replace("\xa0", " ") == "62.1 % (59.7 to 64.5 %, n = 1,600 images)"
    assert formatting.points(Estimate(0.249, -0.221, 0.276, 10, "images")) == ("+24.9", "−22.1 to +27.6")
    assert formatting.correlation(Estimate(-0.4, -0.6, 0.1, 10, "trials")) == ("−0.40", "−0.60 to +0.10")
    numbers = {12: "12", 49_386: "49.4 k", 999_499: "999 k", 999_700: "1 M", 16_083_456: "16.1 M"}
    assert [formatting.brief(number).replace("\xa0", " ") for number in numbers] == list(numbers.values())
    assert [formatting.signed(number, 1) for number in (0.04, -0.04, -0.06)] == ["+0.0", "+0.0", "−0.1"]
    assert [formatting.duration(seconds).replace("\xa0", " ") for seconds in (49.7, 750, 11_160)] == [
        "49.7 s",
        "12.5 min",
        "3.1 h",
    ]
    assert [formatting.plural(*words).replace("\xa0", " ") for words in ((1, "run"), (2, "class"))] == [
        "1 run",
        "2 classes",
    ]
