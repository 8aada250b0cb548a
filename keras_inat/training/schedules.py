"""Learning-rate schedules, from their names in the configuration."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# Shapes of the rate after the warm-up: of the part of its steps that is done, as a part of the peak.
SHAPES: dict[str, Callable[[Any], Any]] = {
    "constant": ops.ones_like,
    "linear": lambda part: 1 - part,
    # Loshchilov & Hutter 2017 (arXiv 1608.03983), without restarts.
    "cosine": lambda part: (1 + ops.cos(math.pi * part)) / 2,
    # A tenth after half of the steps, a hundredth after three quarters: He et al. 2015 (arXiv 1512.03385).
    "step": lambda part: ops.where(part < 0.5, 1.0, ops.where(part < 0.75, 0.1, 0.01)),
}
# Smith & Topin 2017 (arXiv 1708.07120): up from a 25th of the peak, down to nearly nothing, both along a cosine.
ONECYCLE_START, ONECYCLE_WARMUP = 1 / 25, 0.3
# The rate is halved after so many epochs without a better validation accuracy.
PLATEAU_PATIENCE, PLATEAU_FACTOR = 5, 0.5


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A warm-up to the peak, then one of `SHAPES`.

    Args:
        name: `training.schedule`, but for "plateau", which follows the validation accuracy and not the step.
        peak: The highest rate.
        steps: Of the whole stage.
        warmup: Part of them.
    """

    def __init__(self, name: str, peak: float, steps: int, warmup: float) -> None:
        self.name, self.peak, self.steps, self.warmup = name, peak, steps, warmup

    def __call__(self, step: Any) -> Any:
        onecycle = self.name == "onecycle"
        share = self.warmup or ONECYCLE_WARMUP if onecycle else self.warmup
        warmup = round(share * self.steps)
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(1, warmup)  # the first step moves already, the last is at the peak
        if onecycle:
            rising = ONECYCLE_START + (1 - ONECYCLE_START) * (1 - ops.cos(math.pi * step / max(1, warmup))) / 2
        part = ops.clip((step - warmup) / max(1, self.steps - warmup), 0.0, 1.0)
        falling = SHAPES["cosine" if onecycle else self.name](part)
        return self.peak * (ops.where(step < warmup, rising, falling) if warmup else falling)
