"""The optimizers, with a learning rate and a weight decay for every weight."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_inat.models.cnn import LAST_LAYER
from keras_inat.settings.schema import Training
from keras_inat.training.muon import Muon
from keras_inat.training.schedules import Schedule


def build_optimizer(
    training: Training,
    steps: int,
    rate_multipliers: Mapping[str, float] | None = None,
    decay_targets: Mapping[str, np.ndarray] | None = None,
) -> keras.optimizers.Optimizer:
    """Builds the optimizer for a stage. It also maintains the exponential moving average of the weights.

    The average (Polyak & Juditsky 1992) has a decay in proportion to the length of the stage. It is the plain mean of
    the weights as long as fewer steps are done than its time constant.

    Args:
        training: Names the optimizer, its peak learning rate, its schedule and its weight decay.
        steps: The number of steps of the stage.
        rate_multipliers: By the path of a weight, the factor on the learning rate of `training`; by default 1.
        decay_targets: By the path of a weight, the value that weight decay pulls it towards; by default zero.
    """
    optimizer, settings = OPTIMIZERS[training.optimizer]
    learning_rate: Any = training.learning_rate
    if training.schedule != "plateau":
        learning_rate = Schedule(training.schedule, training.learning_rate, steps, training.warmup)
    return optimizer(
        rate_multipliers=rate_multipliers or {},
        decay_targets=decay_targets or {},
        decay=training.weight_decay,
        learning_rate=learning_rate,
        use_ema=training.ema > 0,
        ema_momentum=1 - 1 / max(1.0, training.ema * steps),
        **settings,
    )


class WeightOptions(NamedTuple):
    """The options of a weight.

    Attributes:
        rate_multiplier: The factor on the learning rate.
        decay: The weight decay.
        target: The variable that the decay pulls the weight towards; None means zero.
    """

    rate_multiplier: float
    decay: float
    target: Any


class PerWeightOptimizer(keras.optimizers.Optimizer):
    """A mixin that gives every weight of an optimizer its own learning rate and weight decay.

    Weight decay is decoupled (Loshchilov & Hutter 2019, arXiv 1711.05101) and multiplied by the learning rate of the
    weight. It does not apply to biases or to the scales and shifts of normalization, where it only costs accuracy. With
    a target other than zero it is a decoupled L2-SP (Li et al. 2018, arXiv 1802.01483).
    """

    def __init__(
        self,
        *,
        rate_multipliers: Mapping[str, float],
        decay_targets: Mapping[str, np.ndarray],
        decay: float,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._rate_multipliers = rate_multipliers
        self._decay_targets = decay_targets
        self._decay = decay

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._options: dict[int, WeightOptions] = {}
        for variable in variables:
            rate_multiplier = self._rate_multipliers.get(variable.path, 1.0)
            decay = self._decay if len(variable.shape) > 1 else 0.0
            target = None
            if decay and variable.path in self._decay_targets:
                # A variable, because the constants of a graph are limited to two gigabytes.
                target = self.add_variable_from_reference(variable, name="decay_target")
                target.assign(self._decay_targets[variable.path])
            index = self._get_variable_index(variable)
            self._options[index] = WeightOptions(rate_multiplier, decay, target)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate_multiplier, decay, target = self._options[self._get_variable_index(variable)]
        learning_rate = learning_rate * rate_multiplier
        if decay:
            excess = variable if target is None else variable - target.value
            self.assign_sub(variable, excess * decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def _update_model_variables_moving_average(self, trainable_variables: list[Any]) -> None:
        # Keras initializes the average with the weights after the first step. A long average would still contain a
        # third of them at its end.
        fraction = ops.maximum(1 - self.ema_momentum, 1 / (ops.cast(self.iterations, "float32") + 1))
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                average.assign(average + fraction * (variable - average))


class PerWeightAdam(PerWeightOptimizer, keras.optimizers.Adam):
    """Adam, or AdamW with a weight decay."""


class PerWeightMuon(PerWeightOptimizer, Muon):
    """Muon."""


class PerWeightSGD(PerWeightOptimizer, keras.optimizers.SGD):
    """Stochastic gradient descent."""


class PerWeightRMSprop(PerWeightOptimizer, keras.optimizers.RMSprop):
    """RMSprop."""


OPTIMIZERS: dict[str, tuple[type[PerWeightOptimizer], dict[str, Any]]] = {
    "adam": (PerWeightAdam, {}),
    "adamw": (PerWeightAdam, {}),
    "muon": (PerWeightMuon, {"exclude_layers": [LAST_LAYER], "weight_decay": None, "adam_weight_decay": None}),
    "sgd": (PerWeightSGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (PerWeightRMSprop, {}),
}
