"""Accuracy of seed groups, of sweeps and of predictions."""

from collections.abc import Sequence

import numpy as np

from keras_inat.intervals import accuracy_interval
from keras_inat.report.groups import Predictions, SeedGroup, SweepHistory, Trial
from keras_inat.report.statistics.estimates import Estimate, estimate_proportion


def estimate_accuracy(group: SeedGroup, key: str = "test") -> Estimate | None:
    """Returns the accuracy of a group, the mean over its seeds.

    Args:
        group: Runs that differ only in the seed.
        key: "test" or "validation".

    Returns:
        None when no run of the group has that accuracy.
    """
    name = {"test": "test_accuracy", "validation": "val_accuracy"}[key]
    values = [record.result[name] for record in group.records if record.result.get(name) is not None]
    if not values:
        return None
    total = group.best.data["counts"][key]
    if len(values) > 1:
        return Estimate(float(np.mean(values)), *accuracy_interval(values, total), len(values), "seeds")
    return estimate_proportion(round(values[0] * total), total)


def estimate_best_trial(sweep: SweepHistory) -> Estimate | None:
    """Returns the validation accuracy of a sweep's best trial, or None when it or the number of images is unknown."""
    if sweep.best is None or sweep.best.score is None or sweep.data is None:
        return None
    total = sweep.data["counts"]["validation"]
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
