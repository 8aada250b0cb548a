"""Accuracies of seed groups and sweeps, paired differences of two models, confusion matrix and calibration."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from keras_inat.intervals import Estimate, difference_interval, estimate_proportion
from keras_inat.reporting.formatting import accuracy_with_balance
from keras_inat.reporting.history import SeedGroup
from keras_inat.reporting.sweep_history import SweepHistory
from keras_inat.store import seed_scores
from keras_inat.store.predictions import Predictions

NUM_BINS = 10
NUM_SIMULATIONS = 4000
CHUNK = 400  # simulations at a time, so that they need little memory


def estimate_test_accuracy(group: SeedGroup) -> Estimate:
    """Returns the test accuracy of a group, the mean over its seeds."""
    return seed_scores.estimate_accuracy([(run.folder, run.result) for run in group.runs])


def estimate_balanced_accuracy(group: SeedGroup) -> Estimate | None:
    """Returns the balanced test accuracy of a group, the mean over its seeds; None if the classes are balanced."""
    if not group.best.data.is_imbalanced:
        return None
    return seed_scores.estimate_balanced_accuracy([(run.folder, run.result) for run in group.runs])


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

    With one pair it compares two trained models, and the interval covers other images. With several pairs, one for each
    seed, it compares two configurations, and the interval covers other seeds as well.

    With `is_balanced`, it is the difference of balanced accuracies, the mean over classes.
    """
    images = [predictions.images for pair in pairs for predictions in pair]
    if any(other != images[0] for other in images):
        return None
    differences = np.array([second.correct.astype(float) - first.correct for first, second in pairs])
    if not differences.size:
        return None
    labels = pairs[0][0].labels if is_balanced else np.zeros_like(pairs[0][0].labels)
    value = float(np.mean([differences[:, labels == label].mean() for label in np.unique(labels)]))
    low, high = difference_interval(differences, labels)
    num_seeds, num_images = differences.shape
    sample = (num_seeds, "seeds") if num_seeds > 1 else (num_images, "images")
    return Estimate(value, max(-1.0, low), min(1.0, high), *sample)


def compare_classes(first: Predictions, second: Predictions, classes: Sequence[str]) -> list[tuple[str, Estimate]]:
    """Returns the paired difference of each class that has images, the largest first."""
    if first.images != second.images:
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
    pairs = [(old.predictions, new.predictions) for old, new in runs]
    return compare_predictions([(old, new) for old, new in pairs if old and new], is_balanced)


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
    chance_limit = float(np.quantile(simulate_errors(confidence, bin_numbers), 0.95))
    return Calibration(bins, sum(gaps) / len(confidence), chance_limit)


def simulate_errors(confidence: np.ndarray, bin_numbers: np.ndarray) -> np.ndarray:
    """Returns expected calibration errors of a perfectly calibrated model with these confidences, `(simulations,)`."""
    rng = np.random.default_rng(0)
    order = np.argsort(bin_numbers, kind="stable")
    expected = confidence[order].astype(np.float32)
    begins = np.unique(bin_numbers[order], return_index=True)[1]
    totals = np.add.reduceat(expected, begins)
    errors = []
    for _ in range(NUM_SIMULATIONS // CHUNK):
        correct = rng.random((CHUNK, len(expected)), np.float32) < expected
        counts = np.add.reduceat(correct, begins, axis=1, dtype=np.int32)
        errors.append(np.abs(counts - totals).sum(axis=1) / len(expected))
    return np.concatenate(errors)
