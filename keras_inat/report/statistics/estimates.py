"""Estimates with their 95 % intervals and sample sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_inat.intervals import Z, mean_interval, wilson_interval


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and sample size."""

    value: float
    low: float  # lower end of the interval
    high: float  # upper end of the interval
    num: int  # sample size
    unit: str  # plural noun for what the sample consists of, such as "images"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def estimate_proportion(correct: int, total: int) -> Estimate:
    """Returns a proportion of images with Wilson's score interval."""
    return Estimate(correct / total, *wilson_interval(correct, total), total, "images")


def estimate_mean(values: Sequence[float], unit: str) -> Estimate:
    """Returns the mean of at least two values with Student's t interval."""
    return Estimate(float(np.mean(values)), *mean_interval(values), len(values), unit)


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Returns Spearman's rank correlation with the interval of Bonett & Wright (2000). Ties get their mean rank.

    Ranks are used because a single failed trial would dominate a correlation of values, and because a learning rate has
    no natural scale.
    """
    from scipy.stats import spearmanr  # takes 1.5 s, and most importers of this module do not need it

    rho = float(spearmanr(first, second).statistic)
    num = len(first)
    if abs(rho) > 1 - 1e-12:
        perfect = math.copysign(1.0, rho)
        return Estimate(perfect, perfect, perfect, num, "trials")
    half = Z * math.sqrt((1 + rho**2 / 2) / (num - 3))
    return Estimate(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), num, "trials")
