"""The predictions of one model: confusion matrix, top-k accuracy and calibration."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from keras_inat.report.statistics.estimates import Estimate, estimate_proportion
from keras_inat.store.predictions import Predictions

NUM_BINS = 10
NUM_SIMULATIONS = 400


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
