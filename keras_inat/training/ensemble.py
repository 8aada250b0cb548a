"""Networks side by side that are judged by the mean of their predictions, and trained each for itself.

Trained by the loss of their mean they would lean on one another (Webb et al. 2019, arXiv 1902.04422), and a mean of
predictions gains by the networks being different (Lakshminarayanan et al. 2017, arXiv 1612.01474). Where
`training.codistillation` has them learn from one another, their mean is a part of each one's target, not of its gradient.
"""

from typing import Any

import keras
from keras import ops

from keras_inat.training.losses import SMALLEST


class SeparateAverage(keras.layers.Average):
    """The mean of probabilities, in value; its gradient is, under `LogLoss`, that of each tower's own loss.

    The output is `mean * exp(s - s)` with `s` the sum of the towers' log-probabilities, of which only the first is let
    through by gradients. With loss `-sum(y * log(output))` those are `-y` for each tower's log-probabilities.
    """

    def call(self, inputs: list[Any]) -> Any:
        mean = ops.stop_gradient(super().call(inputs))
        logs = sum(ops.log(ops.maximum(x, SMALLEST)) for x in inputs)
        return mean * ops.exp(logs - ops.stop_gradient(logs))
