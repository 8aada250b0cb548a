"""Optimizers, from their names in the configuration, with a rate and a decay for every weight."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inat.models.cnn import LAST_LAYER
from keras_inat.settings.schema import Training
from keras_inat.training.muon import Muon
from keras_inat.training.schedules import Schedule

OPTIMIZERS: dict[str, tuple[type[keras.optimizers.Optimizer], dict[str, Any]]] = {
    "adam": (keras.optimizers.Adam, {}),
    "adamw": (keras.optimizers.Adam, {}),  # the decay is ours
    "muon": (Muon, {"exclude_layers": [LAST_LAYER], "weight_decay": None, "adam_weight_decay": None}),
    "sgd": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (keras.optimizers.RMSprop, {}),
}


def build_optimizer(
    training: Training,
    steps: int,
    rates: Mapping[str, float] | None = None,
    starts: Mapping[str, np.ndarray] | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer for a stage of `steps` steps, which also keeps the running average of the weights.

    The average is exponential (Polyak & Juditsky 1992), with a decay that suits the length of the stage; while fewer
    steps are done than it reaches back, it is their plain mean.

    Args:
        training: Names the optimizer, its highest learning rate, schedule and decay.
        steps: Of the stage.
        rates: By a weight's path, its learning rate over that of `training`, where it is not 1.
        starts: By a weight's path, what its decay draws it to, where that is not zero.
    """
    kind, settings = OPTIMIZERS[training.optimizer]
    peak, plateau = training.learning_rate, training.schedule == "plateau"
    return type(kind.__name__, (_PerWeight, kind), {})(
        rates=rates or {},
        starts=starts or {},
        decay=training.weight_decay,
        learning_rate=peak if plateau else Schedule(training.schedule, peak, steps, training.warmup),
        use_ema=training.ema > 0,
        ema_momentum=1 - 1 / max(1.0, training.ema * steps),
        **settings,
    )


class _PerWeight:
    """Laid over an optimizer: gives every weight a learning rate and a decay.

    Weight decay is decoupled (Loshchilov & Hutter 2019, arXiv 1711.05101), multiplied by the weight's learning rate,
    and spares biases and the scales and shifts of normalisation: shrinking those only costs accuracy. Where a weight
    has a start other than zero this is L2-SP (Li et al. 2018, arXiv 1802.01483), decoupled.
    """

    def __init__(
        self, *, rates: Mapping[str, float], starts: Mapping[str, np.ndarray], decay: float, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._given = rates, starts, decay

    def build(self: Any, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)  # type: ignore[misc]
        (rates, starts, decay), self._plans = self._given, {}
        for variable in variables:
            share, start = decay if len(variable.shape) > 1 else 0.0, None
            if share and variable.path in starts:
                # A variable, and not a constant of the graph, which may hold two gigabytes only.
                start = self.add_variable_from_reference(variable, name="start")
                start.assign(starts[variable.path])
            self._plans[self._get_variable_index(variable)] = rates.get(variable.path, 1.0), share, start

    def _update_model_variables_moving_average(self: Any, trainable_variables: list[Any]) -> None:
        # Keras's begins with the first step's weights, of which a long average would keep a third to its end.
        share = ops.maximum(1 - self.ema_momentum, 1 / (ops.cast(self.iterations, "float32") + 1))
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                average.assign(average + share * (variable - average))

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate, decay, start = self._plans[self._get_variable_index(variable)]
        learning_rate = learning_rate * rate
        if decay:
            excess = variable if start is None else variable - start.value
            self.assign_sub(variable, excess * decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
