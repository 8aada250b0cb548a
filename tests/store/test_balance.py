"""Recall by class, the majority baseline and the choice of the score that selects."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from keras_inat.store import balance
from keras_inat.store.records import Trial
from keras_inat.store.scores import count_by_class, measure_balanced_accuracy, score_predictions


def test_balanced_accuracy_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 200, p=[0.7, 0.2, 0.08, 0.02])
    predicted = np.where(rng.random(200) < 0.6, labels, rng.choice(4, 200))
    correct, support = count_by_class(predicted, labels, 6)  # two classes have no image
    assert support.tolist() == np.bincount(labels, minlength=6).tolist()
    assert correct.sum() == (predicted == labels).sum()
    expected = balanced_accuracy_score(labels, predicted)
    assert measure_balanced_accuracy(correct, support) == pytest.approx(expected, abs=1e-12)


def test_predicting_the_majority_of_150_and_6_has_a_balanced_accuracy_of_one_half():
    labels = np.repeat([0, 1], [150, 6])
    scores = score_predictions(np.zeros(156, int), labels, 2)
    assert scores.accuracy == scores.majority_baseline == 150 / 156
    assert scores.balanced_accuracy == 0.5
    assert (scores.num_images, scores.images_per_class, scores.correct_per_class) == (156, (150, 6), (150, 0))
    # Exact intervals of the recalls: 0.9757 to 1 and 0 to 0.4593.
    assert scores.balanced_interval == pytest.approx((0.5 - 0.0243 / 2, 0.5 + 0.4593 / 2), abs=1e-4)


@pytest.mark.parametrize(
    ("setting", "counts", "objective"),
    [
        ("auto", [10, 10], "accuracy"),
        ("auto", [30, 10], "accuracy"),
        ("auto", [31, 10], "balanced_accuracy"),
        ("accuracy", [150, 6], "accuracy"),
        ("balanced_accuracy", [10, 10], "balanced_accuracy"),
    ],
)
def test_the_objective_follows_from_the_setting_and_the_training_images(setting, counts, objective):
    assert balance.choose_objective(setting, counts) == objective


def test_the_choice_is_said_in_a_line_unless_it_is_the_usual_one():
    counts = [150, 6]
    assert balance.describe_objective("auto", "accuracy", [10, 10]) == ""
    assert balance.describe_objective("accuracy", "accuracy", counts) == ""
    assert balance.describe_objective("balanced_accuracy", "balanced_accuracy", [10, 10]) == (
        "training.objective=balanced_accuracy: the balanced validation accuracy selects"
    )
    assert balance.describe_objective("auto", "balanced_accuracy", counts) == (
        "the largest class has 25.0 times as many training images as the smallest, so the balanced validation accuracy "
        "selects (training.objective=accuracy selects by accuracy)"
    )


def test_classes_without_images_do_not_count():
    assert balance.measure_ratio([9, 0, 3]) == 3
    assert not balance.is_imbalanced([15, 10])
    assert balance.is_imbalanced([16, 10])


def test_the_score_of_a_trial_follows_its_objective():
    fields = {"id": "0", "values": {}, "settings": {}, "val_majority_baseline": 0.9}
    fields |= {"val_accuracies": (0.9, 0.8, 0.7), "val_balanced_accuracies": (0.5, 0.7, 0.6)}
    trial = Trial(**fields, objective="balanced_accuracy")
    assert trial.curve == [0.5, 0.7, 0.7]
    assert trial.best_accuracies == (0.8, 0.7)
    assert trial.describe_balance() == "accuracy 80.0%, balanced 70.0%, majority baseline 90.0%"
    assert Trial(**fields).curve == [0.9, 0.9, 0.9]
    assert Trial(**fields).best_accuracies == (0.9, 0.5)


def test_runs_with_several_objectives_are_compared_by_balanced_accuracy():
    assert balance.choose_common(["accuracy", "accuracy"]) == "accuracy"
    assert balance.choose_common(["accuracy", "balanced_accuracy"]) == "balanced_accuracy"
