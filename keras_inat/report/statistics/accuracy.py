"""Accuracy of seed groups, of sweeps and of predictions."""

from collections.abc import Sequence

import numpy as np

from keras_inat.intervals import accuracy_interval
from keras_inat.report.seed_groups import SeedGroup
from keras_inat.report.statistics.estimates import Estimate, estimate_proportion
from keras_inat.report.sweep_history import SweepHistory
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import Trial


def estimate_test_accuracy(group: SeedGroup) -> Estimate:
    """Returns the test accuracy of a group, the mean over its seeds."""
    return _estimate_mean_accuracy([run.test.accuracy for run in group.runs], group.best.data.counts.test)


def estimate_validation_accuracy(group: SeedGroup) -> Estimate:
    """Returns the validation accuracy of a group, the mean over its seeds."""
    return _estimate_mean_accuracy([run.result.val_accuracy for run in group.runs], group.best.data.counts.validation)


def estimate_best_trial(sweep: SweepHistory) -> Estimate | None:
    """Returns the validation accuracy of a sweep's best trial, or None when it or the number of images is unknown."""
    if sweep.best is None or sweep.best.score is None or sweep.data is None:
        return None
    total = sweep.data.counts.validation
    return estimate_proportion(round(sweep.best.score * total), total)


def estimate_top_k(predictions: Predictions, k: int = 3) -> Estimate:
    """Returns the top-k accuracy. Of equal probabilities that of the lower class counts first, as in `argmax`."""
    # scikit-learn's top_k_accuracy_score prefers the higher class: rounded probabilities gave 110 of 500 other counts.
    top = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :k]
    hits = (top == predictions.labels[:, None]).any(axis=1)
    return estimate_proportion(int(hits.sum()), len(hits))


def running_best(trials: Sequence[Trial]) -> list[float]:
    """Returns the best score up to and including each completed trial."""
    if not trials:
        return []
    return np.maximum.accumulate([trial.score or 0.0 for trial in trials]).tolist()


def _estimate_mean_accuracy(values: list[float], total: int) -> Estimate:
    """Returns the mean of the accuracies of one or more seeds on `total` images."""
    if len(values) > 1:
        return Estimate(float(np.mean(values)), *accuracy_interval(values, total), len(values), "seeds")
    return estimate_proportion(round(values[0] * total), total)
