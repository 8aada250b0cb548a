"""Loss and metrics that take mixed labels as they are: probabilities over the classes."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inat.settings.schema import Training

FINITE_STEPS = "finite_steps"
# Probability in a logarithm: where a loss is cut off it has no gradient, and what is most wrong would teach nothing.
SMALLEST = 1e-30


def build_loss(training: Training, labels: np.ndarray, num_classes: int, ensemble_size: int = 1) -> keras.losses.Loss:
    """The cross-entropy that `training` asks for; `labels` `(images,)` are those of the training images."""
    if training.class_weights == "none" and ensemble_size == 1:
        return keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing)
    balanced = training.class_weights == "balanced"
    weights = weigh_classes(labels, num_classes) if balanced else np.ones(num_classes, np.float32)
    return LogLoss(weights, training.label_smoothing, training.codistillation)


def build_metrics() -> list[keras.metrics.Metric]:
    """What is measured at every step."""
    return [keras.metrics.MeanMetricWrapper(measure_accuracy, name="accuracy"), FiniteSteps(FINITE_STEPS)]


class LogLoss(keras.losses.CategoricalCrossentropy):
    """Cross-entropy that takes labels and probabilities as they are.

    Keras's divides probabilities by their sum, which has a gradient too, and leaves those of a softmax to an operation
    whose gradient is right only for labels that sum to one.

    Args:
        weights: `(classes,)`, how much each class counts; of a mixed label each part counts by its own.
        label_smoothing: Is not weighted.
        distillation: Part of each target that is the prediction itself. Where that is the mean of towers, each learns
            from the others (Anil et al. 2018, arXiv 1804.03235).
    """

    def __init__(self, weights: np.ndarray, label_smoothing: float, codistillation: float) -> None:
        super().__init__()
        self._weights, self._smoothing = np.asarray(weights, np.float32), label_smoothing
        self._distillation = codistillation

    def call(self, y_true: Any, y_pred: Any) -> Any:
        targets = y_true * self._weights * (1 - self._smoothing) + self._smoothing / y_true.shape[-1]
        targets += self._distillation * (ops.stop_gradient(y_pred) - targets)
        return -ops.sum(targets * ops.log(ops.maximum(y_pred, SMALLEST)), axis=-1)


def weigh_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weights `(classes,)` float32 that let each class count as if all had as many of the `labels` `(images,)`."""
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (num_classes * np.maximum(counts, 1))).astype(np.float32)


def measure_accuracy(y_true: Any, y_pred: Any) -> Any:
    """The part of each label that lies on the predicted class: for a label that is not mixed, 1 or 0."""
    predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), y_pred.shape[-1])
    return ops.sum(y_true * predicted, axis=-1)


class FiniteSteps(keras.metrics.Metric):
    """Counts the steps whose predictions are all finite: once weights are not, nothing after them is."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        # Of several devices the mean: each counts its own part of the same steps.
        self._count = self.add_variable(shape=(), initializer="zeros", aggregation="mean", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._count.assign_add(ops.cast(ops.all(ops.isfinite(y_pred)), "float32"))

    def result(self) -> Any:
        return ops.convert_to_tensor(self._count)
