"""Accuracies of seed groups and sweeps, paired differences of two models, confusion matrix and calibration."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from keras_inat.intervals import (
    Estimate,
    accuracy_interval,
    balanced_accuracy_interval_over_seeds,
    combine_intervals,
    estimate_proportion,
    mean_interval,
    paired_interval,
)
from keras_inat.reporting.formatting import accuracy_with_balance
from keras_inat.reporting.history import SeedGroup
from keras_inat.reporting.sweep_history import SweepHistory
from keras_inat.store.predictions import Predictions

NUM_BINS = 10
NUM_SIMULATIONS = 400


def estimate_test_accuracy(group: SeedGroup) -> Estimate:
    """Returns the test accuracy of a group, the mean over its seeds."""
    accuracies = [run.test.accuracy for run in group.runs]
    total = group.best.data.counts.test
    if len(accuracies) > 1:
        interval = accuracy_interval(accuracies, total)
        return Estimate(float(np.mean(accuracies)), *interval, len(accuracies), "seeds")
    return estimate_proportion(round(accuracies[0] * total), total)


def estimate_balanced_accuracy(group: SeedGroup) -> Estimate | None:
    """Returns the balanced test accuracy of a group, the mean over its seeds; None if the classes are balanced."""
    if not group.best.data.is_imbalanced:
        return None
    tests = [run.test for run in group.runs]
    if len(tests) > 1:
        correct = [test.correct_per_class for test in tests]
        interval = balanced_accuracy_interval_over_seeds(correct, tests[0].images_per_class)
        return Estimate(group.test_balanced_accuracy, *interval, len(tests), "seeds")
    return Estimate(tests[0].balanced_accuracy, *tests[0].balanced_interval, tests[0].num_images, "images")


def describe_test_accuracy(group: SeedGroup) -> str:
    """Returns the test accuracy of a group as text, with balanced accuracy and baseline unless classes are balanced."""
    balanced = estimate_balanced_accuracy(group)
    baseline = group.best.test.majority_baseline
    return accuracy_with_balance(estimate_test_accuracy(group), balanced, baseline)


def estimate_best_trial(sweep: SweepHistory) -> Estimate | None:
    """Returns the validation accuracy of a sweep's best trial.

    It is None when the accuracy or the number of images is unknown, or when balanced accuracy selects.
    """
    if sweep.best is None or sweep.best.score is None or sweep.data is None or sweep.objective != "accuracy":
        return None
    total = sweep.data.counts.validation
    return estimate_proportion(round(sweep.best.score * total), total)


def compare_predictions(pairs: Sequence[tuple[Predictions, Predictions]], is_balanced: bool = False) -> Estimate | None:
    """Returns the accuracy of the second of each pair minus that of the first, or None if the images differ.

    The interval over images is that of Bonett & Price (2012) for paired proportions, which keeps its coverage when the
    two models rarely differ. With several pairs, one for each seed, the interval also covers the variation over seeds.

    With `is_balanced`, it is the difference of balanced accuracies, the mean over classes. The interval over images
    combines those of the classes, which are independent (Zou, Huang & Zhang 2009).
    """
    images = [_identify_images(predictions) for pair in pairs for predictions in pair]
    if any(other != images[0] for other in images):
        return None
    differences = np.array([second.correct.astype(float) - first.correct for first, second in pairs])
    if not differences.size:
        return None
    by_image = differences.mean(axis=0)
    value = float(differences.mean())
    by_seed = differences.mean(axis=1)
    low, high = paired_interval(by_image)
    if is_balanced:
        labels = pairs[0][0].labels
        members = [labels == label for label in np.unique(labels)]
        value = float(np.mean([by_image[member].mean() for member in members]))
        by_seed = np.mean([differences[:, member].mean(axis=1) for member in members], axis=0)
        margins = []
        for member in members:
            ends = paired_interval(by_image[member])
            margins.append((by_image[member].mean() - ends[0], ends[1] - by_image[member].mean()))
        below, above = np.sqrt((np.array(margins) ** 2).sum(axis=0)) / len(members)
        low = value - float(below)
        high = value + float(above)
    sample = (len(by_image), "images")
    if len(differences) > 1:
        low, high = combine_intervals(value, (low, high), mean_interval(by_seed))
        sample = (len(differences), "seeds")
    return Estimate(value, max(-1.0, low), min(1.0, high), *sample)


def compare_classes(first: Predictions, second: Predictions, classes: Sequence[str]) -> list[tuple[str, Estimate]]:
    """Returns the paired difference of each class that has images, the largest first."""
    if _identify_images(first) != _identify_images(second):
        return []
    differences = []
    for label, name in enumerate(classes):
        of_class = first.labels == label
        difference = compare_predictions([(first.select(of_class), second.select(of_class))])
        if difference:
            differences.append((name, difference))
    return sorted(differences, key=lambda entry: -entry[1].value)


def compare_groups(first: SeedGroup, second: SeedGroup, is_balanced: bool = False) -> Estimate | None:
    """Returns the test accuracy of `second` minus that of `first`, paired by image, or None if the images differ.

    With `is_balanced`, it is the difference of balanced accuracies.

    The groups are compared over the seeds that both have if there are several, otherwise by the best run of each.
    """
    before = {run.result.seed: run for run in first.runs}
    after = {run.result.seed: run for run in second.runs}
    shared = sorted(before.keys() & after.keys())
    runs = [(first.best, second.best)]
    if len(shared) > 1:
        runs = [(before[seed], after[seed]) for seed in shared]
    pairs = [(old.read_predictions(), new.read_predictions()) for old, new in runs]
    return compare_predictions([(old, new) for old, new in pairs if old and new], is_balanced)


def _identify_images(predictions: Predictions) -> list[tuple[str, int]]:
    """Returns `<Class>/<file>` and the label of each image, without the folders that an archive may have."""
    names = ["/".join(str(file).split("/")[-2:]) for file in predictions.files]
    return list(zip(names, predictions.labels.tolist(), strict=True))


class Calibration(NamedTuple):
    """The calibration of a model."""

    bins: list[tuple[float, Estimate]]  # mean confidence and accuracy of each bin with images, the lowest first
    error: float  # expected calibration error
    chance_limit: float  # 95 % quantile of the error of a perfectly calibrated model on as many images


def count_confusion(predictions: Predictions, num_classes: int) -> np.ndarray:
    """Returns the confusion matrix `(classes, classes)` int64: true classes in rows, predicted classes in columns."""
    return confusion_matrix(predictions.labels, predictions.predicted, labels=np.arange(num_classes))


def estimate_top_k(predictions: Predictions, k: int = 3) -> Estimate:
    """Returns the top-k accuracy. Of equal probabilities that of the lower class counts first, as in `argmax`."""
    # scikit-learn's top_k_accuracy_score prefers the higher class: rounded probabilities gave 110 of 500 other counts.
    top = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :k]
    hits = (top == predictions.labels[:, None]).any(axis=1)
    return estimate_proportion(int(hits.sum()), len(hits))


def measure_calibration(predictions: Predictions) -> Calibration:
    """Measures the expected calibration error (Guo et al. 2017, arXiv 1706.04599) over ten bins of equal width.

    The confidence of a prediction is the probability of the predicted class. The expected calibration error is the mean
    over images of the difference between the accuracy and the mean confidence of the image's bin.
    """
    confidence = predictions.probabilities.max(axis=1)
    # scikit-learn's calibration_curve gives the same bins without their sizes, but puts 0.5 into the bin below 0.5.
    bin_numbers = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    bins = []
    for number in np.unique(bin_numbers):
        members = bin_numbers == number
        accuracy = estimate_proportion(int(predictions.correct[members].sum()), int(members.sum()))
        bins.append((float(confidence[members].mean()), accuracy))
    gaps = [abs(mean - accuracy.value) * accuracy.num for mean, accuracy in bins]
    simulated = np.random.default_rng(0).random((NUM_SIMULATIONS, len(confidence))) < confidence
    in_bin = bin_numbers[:, None] == np.arange(NUM_BINS)
    errors = np.abs((simulated - confidence) @ in_bin).sum(axis=1) / len(confidence)
    return Calibration(bins, sum(gaps) / len(confidence), float(np.quantile(errors, 0.95)))
