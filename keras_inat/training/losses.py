"""The loss and the metrics. They accept mixed labels, which are probabilities over the classes.

The prediction of an ensemble is the mean of its members' predictions. Each member is trained with a loss of its own.
With a loss of the mean, the members would rely on one another (Webb et al. 2019, arXiv 1902.04422), but the mean is
better the more they differ (Lakshminarayanan et al. 2017, arXiv 1612.01474). With `training.codistillation`, the mean
is a fraction of each member's target, and no gradient passes through it.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inat.settings.schema import Training

FINITE_STEPS = "finite_steps"
# The lower limit of a probability in a logarithm. A clipped loss has no gradient, so the limit has to be far below the
# probabilities of the worst predictions.
MIN_PROBABILITY = 1e-30


def build_loss(training: Training, labels: np.ndarray, num_classes: int, ensemble_size: int = 1) -> keras.losses.Loss:
    """Builds the cross-entropy for `training`; `labels` `(images,)` are the classes of the training images."""
    if training.class_weights == "none" and ensemble_size == 1:
        return keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing)
    weights = choose_class_weights(training, labels, num_classes)
    return WeightedCrossentropy(weights, training.label_smoothing, training.codistillation)


def build_metrics() -> list[keras.metrics.Metric]:
    """Builds the metrics of a training step."""
    return [keras.metrics.MeanMetricWrapper(measure_accuracy, name="accuracy"), FiniteSteps(FINITE_STEPS)]


class WeightedCrossentropy(keras.losses.CategoricalCrossentropy):
    """Cross-entropy with class weights, for labels that need not sum to one.

    The loss of Keras divides the probabilities by their sum, which also has a gradient. It computes a softmax and the
    loss together in one operation, whose gradient is correct only for labels that sum to one.

    Args:
        weights: `(classes,)`, the weight of each class. In a mixed label, each class has its own weight.
        label_smoothing: The smoothing, which is not weighted.
        codistillation: The fraction of each target that is the prediction itself. In an ensemble the prediction is the
            mean of the members, so that each member learns from the others (Anil et al. 2018, arXiv 1804.03235).
    """

    def __init__(self, weights: np.ndarray, label_smoothing: float, codistillation: float) -> None:
        super().__init__()
        self._weights = weights
        self._smoothing = label_smoothing
        self._codistillation = codistillation

    def call(self, y_true: Any, y_pred: Any) -> Any:
        targets = y_true * self._weights * (1 - self._smoothing) + self._smoothing / y_true.shape[-1]
        targets += self._codistillation * (ops.stop_gradient(y_pred) - targets)
        return -ops.sum(targets * ops.log(ops.maximum(y_pred, MIN_PROBABILITY)), axis=-1)


class IndependentAverage(keras.layers.Average):
    """The mean of the members' probabilities, whose gradient is that of each member's own `WeightedCrossentropy`.

    The output is `mean * exp(s - s)`, where `s` is the sum of the members' log-probabilities. Gradients pass through
    the first `s` only. With the loss `-sum(y * log(output))`, the gradient for each member's log-probabilities is `-y`.
    """

    def call(self, inputs: list[Any]) -> Any:
        mean = ops.stop_gradient(super().call(inputs))
        logs = sum(ops.log(ops.maximum(x, MIN_PROBABILITY)) for x in inputs)
        return mean * ops.exp(logs - ops.stop_gradient(logs))


def choose_class_weights(training: Training, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the weight of each class in the loss, `(classes,)` float32; see `training.class_weights`."""
    if training.class_weights == "balanced":
        return compute_class_weights(labels, num_classes)
    return np.ones(num_classes, np.float32)


def compute_class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns weights `(classes,)` float32, inversely proportional to the counts of the classes in `labels`."""
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (num_classes * np.maximum(counts, 1))).astype(np.float32)


def measure_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns the probability that each label gives to the predicted class: 1 or 0 unless the label is mixed."""
    predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), y_pred.shape[-1])
    return ops.sum(y_true * predicted, axis=-1)


class FiniteSteps(keras.metrics.Metric):
    """The number of steps whose predictions are all finite. Once weights are not finite, they remain so."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        # Every device counts the same steps on its own images, so the count is the mean over the devices.
        self._count = self.add_variable(shape=(), initializer="zeros", aggregation="mean", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._count.assign_add(ops.cast(ops.all(ops.isfinite(y_pred)), "float32"))

    def result(self) -> Any:
        return ops.convert_to_tensor(self._count)
