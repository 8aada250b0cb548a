"""Calibration: confidence compared with accuracy."""

from typing import NamedTuple

import numpy as np

from keras_inat.report.statistics.estimates import Estimate, estimate_proportion
from keras_inat.store.predictions import Predictions

NUM_BINS = 10
NUM_SIMULATIONS = 400


class ConfidenceBin(NamedTuple):
    """The images whose confidence is in one bin: their mean confidence and their accuracy."""

    confidence: float
    accuracy: Estimate


class Calibration(NamedTuple):
    """The calibration of a model.

    Attributes:
        bins: The bins that have images, from low to high confidence.
        error: Expected calibration error.
        chance_limit: 95 % quantile of the error of a perfectly calibrated model on as many images.
    """

    bins: list[ConfidenceBin]
    error: float
    chance_limit: float


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
        bins.append(ConfidenceBin(float(confidence[members].mean()), accuracy))
    gaps = [abs(row.confidence - row.accuracy.value) * row.accuracy.num for row in bins]
    chance_limit = _simulate_chance_limit(confidence, bin_numbers)
    return Calibration(bins, sum(gaps) / len(confidence), chance_limit)


def _simulate_chance_limit(confidence: np.ndarray, bin_numbers: np.ndarray) -> float:
    correct = np.random.default_rng(0).random((NUM_SIMULATIONS, len(confidence))) < confidence
    members = bin_numbers[:, None] == np.arange(NUM_BINS)
    errors = np.abs((correct - confidence) @ members).sum(axis=1) / len(confidence)
    return float(np.quantile(errors, 0.95))
