"""Scores of predicted classes. Apart from the records, because those are read without NumPy."""

import numpy as np

from keras_inat.intervals import balanced_accuracy_interval, wilson_interval
from keras_inat.store.balance import measure_baseline
from keras_inat.store.records import EvaluationScores


def score_predictions(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> EvaluationScores:
    """Scores predicted classes `(images,)` int against the true ones, `labels` `(images,)` int."""
    correct, support = count_by_class(predicted, labels, num_classes)
    num_correct = int(correct.sum())
    total = len(labels)
    return EvaluationScores(
        accuracy=num_correct / total,
        interval=wilson_interval(num_correct, total),
        balanced_accuracy=measure_balanced_accuracy(correct, support),
        balanced_interval=balanced_accuracy_interval(correct.tolist(), support.tolist()),
        majority_baseline=measure_baseline(support.tolist()),
        num_images=total,
        images_per_class=tuple(support.tolist()),
        correct_per_class=tuple(correct.tolist()),
    )


def count_by_class(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts images by their true class.

    Args:
        predicted: `(images,)` int, the predicted classes.
        labels: `(images,)` int, the true classes.
        num_classes: The number of classes.

    Returns:
        `(classes,)` int64: the correctly classified images of each class, and all its images.
    """
    correct = np.bincount(labels[predicted == labels], minlength=num_classes)
    return correct, np.bincount(labels, minlength=num_classes)


def measure_balanced_accuracy(correct: np.ndarray, support: np.ndarray) -> float:
    """Returns the mean recall of the classes that have images, from the counts of `count_by_class`."""
    present = support > 0
    return float(np.mean(correct[present] / support[present]))
