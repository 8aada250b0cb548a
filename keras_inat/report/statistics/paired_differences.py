"""Paired differences in accuracy: two models on the same test images."""

import math
from collections.abc import Sequence

import numpy as np

from keras_inat.intervals import Z, combine_intervals, mean_interval
from keras_inat.report.seed_groups import SeedGroup
from keras_inat.report.statistics.estimates import Estimate
from keras_inat.store.predictions import Predictions


def compare_predictions(pairs: Sequence[tuple[Predictions, Predictions]]) -> Estimate | None:
    """Returns the accuracy of the second of each pair minus that of the first, over the same images.

    The interval over images is that of Bonett & Price (2012) for paired proportions, which keeps its coverage when the
    two models rarely differ. With several pairs, one for each seed, the interval also covers the variation over seeds.

    Returns:
        None when there is no pair, or when the images differ.
    """
    everyone = [predictions for pair in pairs for predictions in pair]
    if not all(_have_same_images(everyone[0], other) for other in everyone):
        return None
    differences = np.array([second.correct.astype(float) - first.correct for first, second in pairs])
    if not differences.size:
        return None
    value = float(differences.mean())
    by_image = differences.mean(axis=0)
    low, high = _bonett_price_interval(by_image)
    if len(differences) == 1:
        return Estimate(value, max(-1.0, low), min(1.0, high), len(by_image), "images")
    low, high = combine_intervals(value, (low, high), mean_interval(differences.mean(axis=1)))
    return Estimate(value, max(-1.0, low), min(1.0, high), len(differences), "seeds")


def compare_classes(first: Predictions, second: Predictions, classes: Sequence[str]) -> list[tuple[str, Estimate]]:
    """Returns the paired difference of each class that has images, the largest first."""
    if not _have_same_images(first, second):
        return []
    differences = []
    for label, name in enumerate(classes):
        of_class = first.labels == label
        difference = compare_predictions([(first.select(of_class), second.select(of_class))])
        if difference:
            differences.append((name, difference))
    return sorted(differences, key=lambda entry: -entry[1].value)


def compare_groups(first: SeedGroup, second: SeedGroup) -> Estimate | None:
    """Returns the test accuracy of `second` minus that of `first`, paired by image.

    The groups are compared over the seeds that both have if there are several, otherwise by the best run of each.

    Returns:
        None when predictions are missing, or when the images differ.
    """
    before = {run.result.seed: run for run in first.runs}
    after = {run.result.seed: run for run in second.runs}
    shared = sorted(before.keys() & after.keys())
    runs = [(first.best, second.best)]
    if len(shared) > 1:
        runs = [(before[seed], after[seed]) for seed in shared]
    pairs = [(old.read_predictions(), new.read_predictions()) for old, new in runs]
    return compare_predictions([(old, new) for old, new in pairs if old and new])


def _bonett_price_interval(differences: np.ndarray) -> tuple[float, float]:
    """Returns the interval of the mean of differences, one for each image, in [-1, 1].

    The adjustment adds two images: one that the second model gains, and one that it loses.
    """
    total = len(differences) + 2
    mean = float(differences.sum()) / total
    half = Z * math.sqrt(((float((differences**2).sum()) + 2) / total - mean**2) / total)
    return mean - half, mean + half


def _have_same_images(first: Predictions, second: Predictions) -> bool:
    return _name_images(first) == _name_images(second) and np.array_equal(first.labels, second.labels)


def _name_images(predictions: Predictions) -> list[str]:
    """Returns `val/<Class>/<file>` of each image, without the folders that an archive may have around it."""
    return ["/".join(str(file).split("/")[-3:]) for file in predictions.files]
