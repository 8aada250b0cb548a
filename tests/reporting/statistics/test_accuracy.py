"""Accuracies and paired differences against numbers calculated by hand, and their coverage in simulations."""

import numpy as np
import pytest
from predictions import make_predictions, predict
from report_workshop import Workshop

from keras_inat.intervals import (
    Estimate,
    accuracy_interval,
    difference_interval,
    estimate_proportion,
    interval_over_seeds,
)
from keras_inat.reporting.history import group_by_seed, read_history
from keras_inat.reporting.statistics.accuracy import (
    compare_classes,
    compare_groups,
    compare_predictions,
    count_confusion,
    estimate_best_trial,
    estimate_test_accuracy,
    estimate_top_k,
    measure_calibration,
    simulate_errors,
)
from keras_inat.reporting.sweep_history import read_sweep


def test_accuracy_of_a_group_is_the_mean_over_seeds(workshop: Workshop) -> None:
    for seed, correct in ((0, 60), (1, 64), (2, 68)):
        workshop.add_run(seed=seed, correct=correct, val=0.5 + 0.05 * seed)
    workshop.add_run(seed=2, correct=62, val=0.6)  # run again: the newest counts
    workshop.add_run(seed=0, correct=50, settings={"training.learning_rate": 1e-4})
    groups = group_by_seed(read_history(workshop.runs).runs)
    assert [[run.result.seed for run in group.runs] for group in groups] == [[0, 1, 2], [0]]
    estimate = estimate_test_accuracy(groups[0])
    assert (estimate.value, estimate.num, estimate.unit) == (pytest.approx(0.62), 3, "seeds")
    # The workshop's models are correct on the first images: 60 for all seeds, 4 and 4 more for one or two.
    correct = np.arange(100) < np.array([[60], [64], [62]])
    assert (estimate.low, estimate.high) == pytest.approx(accuracy_interval(correct))
    # Without the predictions, only the counts are known.
    groups[0].runs[1].folder.predictions.unlink()
    images = estimate_proportion(62, 100)
    wider = estimate_test_accuracy(groups[0])
    interval = interval_over_seeds(0.62, (images.low, images.high), [0.60, 0.64, 0.62])
    assert (wider.low, wider.high) == pytest.approx(interval)
    assert wider.low < estimate.low
    assert wider.high > estimate.high
    assert estimate_test_accuracy(groups[1]) == estimate_proportion(50, 100)
    assert groups[0].val_accuracy == pytest.approx(0.55)
    assert groups[1].val_accuracy == 0.5


def test_best_trial_has_the_interval_of_its_validation_images(workshop: Workshop) -> None:
    folder = workshop.add_sweep("s", [{"model.filters": 8}] * 5, [0.3, 0.25, None, 0.5, 0.4])
    sweep = read_sweep(folder)
    assert sweep.best is not None
    assert sweep.best.id == "003"
    assert estimate_best_trial(sweep) == estimate_proportion(24, 48)


def test_paired_difference_by_hand() -> None:
    labels = [0] * 50 + [1] * 50
    first = predict(labels, [0] * 50 + [0] * 50)  # correct on the first 50
    second = predict(labels, [0] * 40 + [1] * 60)  # loses 10 of those, gains the other 50
    difference = compare_predictions([(first, second)])
    assert difference is not None
    assert (difference.value, difference.num, difference.unit) == (0.4, 100, "images")
    gained = 51 / 102
    lost = 11 / 102
    half = 1.959964 * np.sqrt((gained + lost - (gained - lost) ** 2) / 102)
    assert (difference.low, difference.high) == pytest.approx((gained - lost - half, gained - lost + half))
    assert compare_predictions([(first, predict(labels[:99], [0] * 99))]) is None  # other images
    assert compare_predictions([]) is None


@pytest.mark.parametrize("gained", [[10], [10, 0], [8, 0]])
def test_a_difference_is_100_points_at_most(gained: list[int]) -> None:
    nothing = predict([0] * 10, [1] * 10)
    pairs = [(nothing, predict([0] * 10, [0] * num + [1] * (10 - num))) for num in gained]
    difference = compare_predictions(pairs)
    assert difference is not None
    assert difference.high == 1.0
    assert -1.0 <= difference.low < difference.value == pytest.approx(np.mean(gained) / 10)


def test_classes_are_compared_one_by_one() -> None:
    labels = [0] * 30 + [1] * 30
    first = predict(labels, [0] * 60)
    second = predict(labels, [0] * 20 + [1] * 40)
    differences = compare_classes(first, second, ["a", "b", "c"])  # the last one has no image
    assert [(name, difference.value, difference.num) for name, difference in differences] == [
        ("b", 1.0, 30),
        ("a", pytest.approx(-1 / 3), 30),
    ]
    assert all(difference.excludes_zero for _, difference in differences)
    assert compare_classes(first, predict(labels[:50], [0] * 50), ["a", "b", "c"]) == []  # other images


def test_balanced_difference_is_the_mean_over_classes() -> None:
    labels = [0] * 30 + [1] * 6
    first = predict(labels, [0] * 27 + [1] * 3 + [1] * 6)
    second = predict(labels, [0] * 36)  # gains 3 of 30, loses 6 of 6
    difference = compare_predictions([(first, second)], is_balanced=True)
    assert difference is not None
    assert (difference.value, difference.num, difference.unit) == (pytest.approx((0.1 - 1) / 2), 36, "images")
    (_, common), (_, rare) = compare_classes(first, second, ["a", "b"])
    # The interval of the rare class alone would end at -1, below which a mean of two may still lie.
    assert rare.low == -1
    assert difference.high == pytest.approx(difference.value + np.hypot(common.high - 0.1, rare.high + 1) / 2)
    assert difference.low < difference.value - (0.1 - common.low) / 2
    # Over seeds that agree, only the variation over images is left.
    seeds = compare_predictions([(first, second)] * 2, is_balanced=True)
    assert seeds == Estimate(
        difference.value, pytest.approx(difference.low), pytest.approx(difference.high), 2, "seeds"
    )


def test_balanced_difference_has_its_coverage_with_six_images_of_a_class() -> None:
    rng = np.random.default_rng(1)
    labels = [0] * 150 + [1] * 6
    recall = np.repeat([0.95, 0.6], [150, 6])
    false_positives = 0
    for _ in range(400):
        first, second = (np.where(rng.random(156) < recall, labels, 1 - np.array(labels)) for _ in range(2))
        pair = (predict(labels, first.tolist()), predict(labels, second.tolist()))
        difference = compare_predictions([pair], is_balanced=True)
        assert difference is not None
        false_positives += difference.excludes_zero
    assert false_positives <= 0.08 * 400


def test_groups_are_compared_over_shared_seeds(workshop: Workshop) -> None:
    for seed, (first, second) in enumerate([(50, 60), (52, 65), (54, 63), (99, None)]):
        workshop.add_run(name="a", seed=seed, correct=first)
        if second:
            workshop.add_run(name="b", seed=seed, correct=second)
    groups = {group.best.result.name: group for group in group_by_seed(read_history(workshop.runs).runs)}
    difference = compare_groups(groups["a"], groups["b"])
    assert difference is not None
    assert (difference.value, difference.num, difference.unit) == (pytest.approx(0.32 / 3), 3, "seeds")
    # The workshop's models are correct on the first images: seed 1 gains images 52 to 64, for example.
    images = np.arange(100)
    gained = [(first <= images) & (images < second) for first, second in ((50, 60), (52, 65), (54, 63))]
    low, high = difference_interval(np.array(gained, float))
    assert (difference.low, difference.high) == pytest.approx((low, high))


def test_groups_without_shared_seeds_are_compared_by_their_best_runs(workshop: Workshop) -> None:
    for seed in (1, 2, 3):
        workshop.add_run(name="b", seed=seed, correct=60)
    workshop.add_run(name="c", seed=0, correct=70)
    groups = {group.best.result.name: group for group in group_by_seed(read_history(workshop.runs).runs)}
    difference = compare_groups(groups["b"], groups["c"])
    assert difference is not None
    assert (difference.num, difference.unit) == (100, "images")


def test_interval_over_images_has_its_coverage() -> None:
    rng = np.random.default_rng(1)
    labels = [0] * 200
    false_positives = 0
    for _ in range(400):
        difficulty = rng.random(200)
        first = (difficulty < 0.5).astype(int)
        second = (difficulty + rng.normal(0, 0.1, 200) < 0.5).astype(int)
        difference = compare_predictions([(predict(labels, first.tolist()), predict(labels, second.tolist()))])
        assert difference is not None
        false_positives += difference.excludes_zero
    assert false_positives <= 0.08 * 400


@pytest.mark.parametrize("fraction", [1.0, 0.2, 0.1, 0.0])
def test_interval_over_seeds_covers_other_images(fraction: float) -> None:
    """Two equally good configurations. The seed decides a fraction of the images, the configuration the others."""
    rng = np.random.default_rng(2)
    labels = [0] * 200
    false_positives = 0
    for _ in range(200):
        configurations = rng.random((2, 200)) < 0.3
        pairs = [
            tuple(
                np.where(rng.random(200) < fraction, rng.random(200) < 0.3, own).astype(int) for own in configurations
            )
            for _ in range(3)
        ]
        difference = compare_predictions([(predict(labels, a.tolist()), predict(labels, b.tolist())) for a, b in pairs])
        assert difference is not None
        false_positives += difference.excludes_zero
    assert false_positives <= 0.08 * 200


def test_true_classes_are_in_rows() -> None:
    counts = count_confusion(predict([0, 0, 1, 2, 2], [0, 1, 1, 0, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]


def test_top_k_accuracy() -> None:
    predictions = make_predictions(np.array([[0.1, 0.2, 0.3, 0.4]] * 4), np.arange(4))
    assert [estimate_top_k(predictions, k).value for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert estimate_top_k(predictions).num == 4


def test_calibration_by_hand() -> None:
    """Four images with a confidence of 95 %, three of them correct; two with 55 %, one of them correct."""
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 2)
    calibration = measure_calibration(make_predictions(probabilities, [0, 0, 0, 1, 0, 1]))
    assert [(confidence, accuracy.value, accuracy.num) for confidence, accuracy in calibration.bins] == [
        (pytest.approx(0.55), 0.5, 2),
        (pytest.approx(0.95), 0.75, 4),
    ]
    assert calibration.error == pytest.approx((2 * 0.05 + 4 * 0.2) / 6)


def test_the_chance_limit_is_steady() -> None:
    """Two halves of the simulations agree, which 200 of them each would not."""
    confidence = np.random.default_rng(0).uniform(0.3, 1, 300)
    errors = simulate_errors(confidence, (10 * confidence).astype(int))
    assert errors.shape == (4000,)
    halves = [np.quantile(half, 0.95) for half in (errors[::2], errors[1::2])]
    assert halves[0] == pytest.approx(halves[1], abs=0.002)
    # A single bin of 300 images: the error is that of a mean of 300 outcomes.
    [limit] = [np.quantile(simulate_errors(np.full(300, 0.75), np.full(300, 7)), 0.95)]
    assert limit == pytest.approx(1.96 * np.sqrt(0.75 * 0.25 / 300), abs=1 / 300)


def test_one_of_twenty_calibrated_models_exceeds_the_chance_limit() -> None:
    rng = np.random.default_rng(0)
    exceeded = []
    for _ in range(200):
        confidence = rng.uniform(0.5, 1, 150)
        labels = (rng.random(150) >= confidence).astype(int)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        calibration = measure_calibration(make_predictions(probabilities, labels))
        exceeded.append(calibration.error > calibration.chance_limit)
    assert 0.01 < np.mean(exceeded) < 0.1
