"""The output layer of an ensemble in training.

The prediction of the ensemble is the mean of its members' predictions. Each member is trained with a loss of its own.
With a loss of the mean, the members would rely on one another (Webb et al. 2019, arXiv 1902.04422), but the mean is
better the more they differ (Lakshminarayanan et al. 2017, arXiv 1612.01474). With `training.codistillation`, the mean
is a fraction of each member's target, and no gradient passes through it.
"""

from typing import Any

import keras
from keras import ops

from keras_inat.training.losses import MIN_PROBABILITY


class IndependentAverage(keras.layers.Average):
    """The mean of the members' probabilities, whose gradient is that of each member's own `WeightedCrossentropy`.

    The output is `mean * exp(s - s)`, where `s` is the sum of the members' log-probabilities. Gradients pass through
    the first `s` only. With the loss `-sum(y * log(output))`, the gradient for each member's log-probabilities is `-y`.
    """

    def call(self, inputs: list[Any]) -> Any:
        mean = ops.stop_gradient(super().call(inputs))
        logs = sum(ops.log(ops.maximum(x, MIN_PROBABILITY)) for x in inputs)
        return mean * ops.exp(logs - ops.stop_gradient(logs))
