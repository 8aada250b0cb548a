"""The optimizers, with a learning rate and a weight decay for every weight, and their learning-rate schedules."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inat.models.cnn import LAST_LAYER
from keras_inat.settings.schema import Training

# The learning rate after the warm-up as a fraction of the peak, given the fraction of the steps that are done.
SHAPES = {
    "constant": ops.ones_like,
    "linear": lambda fraction: 1 - fraction,
    # Loshchilov & Hutter 2017 (arXiv 1608.03983), without restarts.
    "cosine": lambda fraction: (1 + ops.cos(math.pi * fraction)) / 2,
}


def build_optimizer(
    training: Training,
    steps: int,
    rate_multipliers: Mapping[str, float] | None = None,
    decay_targets: Mapping[str, np.ndarray] | None = None,
) -> keras.optimizers.Optimizer:
    """Builds the optimizer for a stage of `steps`. It also maintains the exponential moving average of the weights.

    The average (Polyak & Juditsky 1992) has a decay in proportion to the length of the stage. It is the plain mean of
    the weights as long as fewer steps are done than its time constant.

    Args:
        rate_multipliers: By the path of a weight, the factor on its learning rate; by default 1.
        decay_targets: By the path of a weight, the value that weight decay pulls it towards; by default zero.
    """
    optimizer, settings = OPTIMIZERS[training.optimizer]
    return optimizer(
        rate_multipliers=rate_multipliers or {},
        decay_targets=decay_targets or {},
        decay=training.weight_decay,
        learning_rate=Schedule(training, steps),
        use_ema=training.ema > 0,
        ema_momentum=1 - 1 / max(1.0, training.ema * steps),
        **settings,
    )


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A warm-up to `training.learning_rate` for a fraction of the steps, then one of `SHAPES`."""

    def __init__(self, training: Training, steps: int) -> None:
        self.shape = SHAPES[training.schedule]
        self.peak = training.learning_rate
        self.steps = steps
        self.warmup_steps = round(training.warmup * steps)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        fraction = ops.clip((step - self.warmup_steps) / max(1, self.steps - self.warmup_steps), 0.0, 1.0)
        falling = self.shape(fraction)
        # The rate is not zero at the first step, and it is the peak at the last step of the warm-up.
        rising = (step + 1) / max(1, self.warmup_steps)
        return self.peak * ops.where(step < self.warmup_steps, rising, falling)


class PerWeightOptimizer(keras.optimizers.Optimizer):
    """A mixin that gives every weight of an optimizer its own learning rate and weight decay.

    Weight decay is decoupled (Loshchilov & Hutter 2019, arXiv 1711.05101) and multiplied by the learning rate of the
    weight. It does not apply to biases or to the scales and shifts of normalization, where it only costs accuracy. With
    a target other than zero it is a decoupled L2-SP (Li et al. 2018, arXiv 1802.01483).
    """

    def __init__(
        self,
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
        self._targets: dict[int, Any] = {}
        for index, variable in enumerate(variables):
            if self._has_decay(variable) and variable.path in self._decay_targets:
                # A variable, because the constants of a graph are limited to two gigabytes.
                self._targets[index] = self.add_variable_from_reference(variable, name="decay_target")
                self._targets[index].assign(self._decay_targets[variable.path])
        self._multipliers = [self._rate_multipliers.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        learning_rate = learning_rate * self._multipliers[index]
        if self._has_decay(variable):
            target = self._targets.get(index)
            excess = variable if target is None else variable - target.value
            self.assign_sub(variable, excess * self._decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def _has_decay(self, variable: Any) -> bool:
        return self._decay > 0 and len(variable.shape) > 1

    def _update_model_variables_moving_average(self, trainable_variables: list[Any]) -> None:
        # Keras initializes the average with the weights after the first step. A long average would still contain a
        # third of them at its end.
        fraction = ops.maximum(1 - self.ema_momentum, 1 / (ops.cast(self.iterations, "float32") + 1))
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                average.assign(average + fraction * (variable - average))


class Muon(keras.optimizers.Muon):
    """Orthogonalized momentum for hidden kernels (Jordan et al. 2024, "Muon"), AdamW for all other weights.

    The optimizer of Keras accepts matrices only. Here the kernel of a convolution, `(height, width, inputs, filters)`,
    is treated as the matrix `(height * width * inputs, filters)`. AdamW updates vectors, the layers in
    `exclude_layers`, and the kernels of depthwise convolutions, which are sets of independent vectors. Updates are
    scaled so that the learning rate and the weight decay have the same meaning as for AdamW (Liu et al. 2025, arXiv
    2502.16982).
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        is_matrix = len(variable.shape) > 1 and variable.shape[-1] > 1
        return not is_matrix or any(name in variable.path for name in self.exclude_layers)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        matrix = ops.reshape(ops.add(gradient, self.momentum * m), (-1, variable.shape[-1]))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, variable.shape))

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Returns the nearest matrix with orthonormal rows or columns, as the parent class does up to rounding.

        The iteration multiplies `x` by polynomials of its Gram matrix, which commute. Their product is computed from
        small square matrices, so that the large matrix takes part in two multiplications instead of two per step. For a
        2304 x 512 kernel, this takes 4 instead of 7 billion multiply-accumulates.
        """
        wide = x.shape[0] < x.shape[1]
        if wide:
            x = ops.transpose(x)
        x = x / (ops.norm(x) + 1e-7)
        gram = ops.matmul(ops.transpose(x), x)
        identity = ops.eye(x.shape[1], dtype=x.dtype)
        product = None
        for _ in range(steps):
            factor = self.muon_a * identity + self.muon_b * gram + self.muon_c * ops.matmul(gram, gram)
            product = factor if product is None else ops.matmul(product, factor)
            gram = ops.matmul(factor, ops.matmul(gram, factor))
        x = ops.matmul(x, product)
        return ops.transpose(x) if wide else x


class PerWeightAdam(PerWeightOptimizer, keras.optimizers.Adam):
    """Adam, and AdamW by the decoupled weight decay of the mixin."""


class PerWeightMuon(PerWeightOptimizer, Muon):
    """Muon with the learning rates and the weight decay of the mixin."""


class PerWeightSGD(PerWeightOptimizer, keras.optimizers.SGD):
    """SGD with the learning rates and the weight decay of the mixin."""


class PerWeightRMSprop(PerWeightOptimizer, keras.optimizers.RMSprop):
    """RMSprop with the learning rates and the weight decay of the mixin."""


OPTIMIZERS: dict[str, tuple[type[PerWeightOptimizer], dict[str, Any]]] = {
    "adam": (PerWeightAdam, {}),
    "adamw": (PerWeightAdam, {}),
    "muon": (PerWeightMuon, {"exclude_layers": [LAST_LAYER], "weight_decay": None, "adam_weight_decay": None}),
    "sgd": (PerWeightSGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (PerWeightRMSprop, {}),
}
