"""Accuracies against numbers calculated by hand."""

import numpy as np
import pytest
from predictions import make_predictions
from report_workshop import Workshop

from keras_inat.report.history import group_by_seed, read_history
from keras_inat.report.statistics.accuracy import (
    estimate_best_trial,
    estimate_test_accuracy,
    estimate_top_k,
    estimate_validation_accuracy,
    running_best,
)
from keras_inat.report.statistics.estimates import estimate_proportion
from keras_inat.report.sweep_history import read_sweep


def test_accuracy_of_a_group_is_the_mean_over_seeds(workshop: Workshop) -> None:
    for seed, correct in ((0, 60), (1, 64), (2, 68)):
        workshop.add_run(seed=seed, correct=correct)
    workshop.add_run(seed=2, correct=62)  # run again: the newest counts
    workshop.add_run(seed=0, correct=50, settings={"training.learning_rate": 1e-4})
    groups = group_by_seed(read_history(workshop.runs).runs)
    assert [[run.result.seed for run in group.runs] for group in groups] == [[0, 1, 2], [0]]
    estimate = estimate_test_accuracy(groups[0])
    assert (estimate.value, estimate.num, estimate.unit) == (pytest.approx(0.62), 3, "seeds")
    seeds = 4.302653 * 0.02 / 3**0.5  # Student's t with two degrees of freedom
    images = estimate_proportion(62, 100)
    assert estimate.low == pytest.approx(0.62 - np.hypot(seeds, 0.62 - images.low))
    assert estimate.high == pytest.approx(0.62 + np.hypot(seeds, images.high - 0.62))
    assert estimate_test_accuracy(groups[1]) == estimate_proportion(50, 100)
    assert estimate_validation_accuracy(groups[1]) == estimate_proportion(24, 48)


def test_best_trial_has_the_interval_of_its_validation_images(workshop: Workshop) -> None:
    folder = workshop.add_sweep("s", [{"model.filters": 8}] * 5, [0.3, 0.25, None, 0.5, 0.4])
    sweep = read_sweep(folder)
    assert sweep.best is not None
    assert sweep.best.id == "003"
    assert estimate_best_trial(sweep) == estimate_proportion(24, 48)
    assert running_best(sweep.completed) == [0.3, 0.3, 0.5, 0.5]
    assert running_best([]) == []


def test_top_k_accuracy() -> None:
    predictions = make_predictions(np.array([[0.1, 0.2, 0.3, 0.4]] * 4), np.arange(4))
    assert [estimate_top_k(predictions, k).value for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert estimate_top_k(predictions).num == 4
