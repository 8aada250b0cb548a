"""The learning-rate schedules."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# The learning rate after the warm-up as a fraction of the peak, given the fraction of the steps that are done.
SHAPES: dict[str, Callable[[Any], Any]] = {
    "constant": ops.ones_like,
    "linear": lambda fraction: 1 - fraction,
    # Loshchilov & Hutter 2017 (arXiv 1608.03983), without restarts.
    "cosine": lambda fraction: (1 + ops.cos(math.pi * fraction)) / 2,
    # A tenth after half of the steps, a hundredth after three quarters: He et al. 2015 (arXiv 1512.03385).
    "step": lambda fraction: ops.where(fraction < 0.5, 1.0, ops.where(fraction < 0.75, 0.1, 0.01)),
}
# Smith & Topin 2017 (arXiv 1708.07120): from a 25th of the peak up and then down to almost zero, both along a cosine.
ONECYCLE_START = 1 / 25
ONECYCLE_WARMUP = 0.3
# The rate is multiplied by the factor after this many epochs without a better validation accuracy.
PLATEAU_PATIENCE = 5
PLATEAU_FACTOR = 0.5


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A warm-up to the peak, then one of `SHAPES`.

    Args:
        name: The value of `training.schedule`, except "plateau", which depends on the validation accuracy.
        peak: The highest learning rate.
        steps: The number of steps of the stage.
        warmup: The fraction of the steps in the warm-up.
    """

    def __init__(self, name: str, peak: float, steps: int, warmup: float) -> None:
        self.onecycle = name == "onecycle"
        self.shape = SHAPES["cosine" if self.onecycle else name]
        self.peak = peak
        self.steps = steps
        if self.onecycle and not warmup:
            warmup = ONECYCLE_WARMUP
        self.warmup_steps = round(warmup * steps)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        fraction = ops.clip((step - self.warmup_steps) / max(1, self.steps - self.warmup_steps), 0.0, 1.0)
        falling = self.shape(fraction)
        if not self.warmup_steps:
            return self.peak * falling
        if self.onecycle:
            cosine = (1 - ops.cos(math.pi * step / self.warmup_steps)) / 2
            rising = ONECYCLE_START + (1 - ONECYCLE_START) * cosine
        else:
            # The rate is not zero at the first step, and it is the peak at the last step of the warm-up.
            rising = (step + 1) / self.warmup_steps
        return self.peak * ops.where(step < self.warmup_steps, rising, falling)
