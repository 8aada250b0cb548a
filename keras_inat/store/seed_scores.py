"""The test accuracy of runs that differ only in the seed: the mean over the seeds, with its interval.

The predictions of every seed on the same images separate the variation over seeds from that over images. Where they are
missing, only the counts of each run are known, and the interval is wider.
"""

from collections.abc import Sequence

import numpy as np

from keras_inat.intervals import (
    Estimate,
    accuracy_interval,
    balanced_accuracy_interval,
    estimate_proportion,
    interval_over_seeds,
    mean_recall_interval,
    wilson_interval,
)
from keras_inat.store.predictions import Predictions, read_test_predictions
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder


def estimate_accuracy(runs: Sequence[tuple[RunFolder, Result]]) -> Estimate:
    """Returns the mean test accuracy over the seeds of some runs on the same images.

    The interval of one seed covers other images alone: it is about this trained model.
    """
    tests = [result.test_scores for _, result in runs]
    accuracies = [test.accuracy for test in tests]
    total = tests[0].num_images
    if len(tests) == 1:
        return estimate_proportion(round(accuracies[0] * total), total)
    mean = float(np.mean(accuracies))
    predictions = _read_predictions(runs)
    if predictions:
        interval = accuracy_interval(_join_outcomes(predictions))
    else:
        interval = interval_over_seeds(mean, wilson_interval(mean * total, total), accuracies)
    return _estimate(mean, interval, len(tests))


def estimate_balanced_accuracy(runs: Sequence[tuple[RunFolder, Result]]) -> Estimate:
    """Returns the mean balanced test accuracy over the seeds, as `estimate_accuracy` does for accuracy."""
    tests = [result.test_scores for _, result in runs]
    accuracies = [test.balanced_accuracy for test in tests]
    if len(tests) == 1:
        return Estimate(accuracies[0], *tests[0].balanced_interval, tests[0].num_images, "images")
    mean = float(np.mean(accuracies))
    predictions = _read_predictions(runs)
    if predictions:
        interval = mean_recall_interval(_join_outcomes(predictions), predictions[0].labels)
    else:
        hits = np.mean([test.correct_per_class for test in tests], axis=0)
        over_images = balanced_accuracy_interval(hits.tolist(), tests[0].images_per_class)
        interval = interval_over_seeds(mean, over_images, accuracies)
    return _estimate(mean, interval, len(tests))


def _read_predictions(runs: Sequence[tuple[RunFolder, Result]]) -> list[Predictions]:
    """Reads the predictions of all runs. Returns none unless each has some, of the same images."""
    predictions: list[Predictions] = []
    for folder, result in runs:
        found = read_test_predictions(folder, result)
        if found is None or (predictions and found.images != predictions[0].images):
            return []
        predictions.append(found)
    return predictions


def _join_outcomes(predictions: Sequence[Predictions]) -> np.ndarray:
    return np.array([seed.correct for seed in predictions])


def _estimate(mean: float, interval: tuple[float, float], num_seeds: int) -> Estimate:
    return Estimate(mean, max(0.0, interval[0]), min(1.0, interval[1]), num_seeds, "seeds")
