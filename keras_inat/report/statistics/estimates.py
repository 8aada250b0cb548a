"""An estimate with its 95 % interval and sample size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_inat.intervals import mean_interval, wilson_interval


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and sample size.

    Attributes:
        value: The point estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
        num: Sample size.
        unit: Plural noun for what the sample consists of, such as "images".
    """

    value: float
    low: float
    high: float
    num: int
    unit: str

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def estimate_proportion(correct: int, total: int) -> Estimate:
    """Returns a proportion of images with Wilson's score interval."""
    return Estimate(correct / total, *wilson_interval(correct, total), total, "images")


def estimate_mean(values: Sequence[float], unit: str) -> Estimate:
    """Returns the mean of at least two values with Student's t interval."""
    return Estimate(float(np.mean(values)), *mean_interval(values), len(values), unit)
