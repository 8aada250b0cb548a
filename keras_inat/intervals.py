"""How sure a counted accuracy is."""

import math
import statistics
from collections.abc import Sequence

Z = 1.959964  # 97.5 % of a normal distribution lie below


def wilson_interval(correct: float, total: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927), which stays within [0, 1] and holds for few images."""
    share, spread = correct / total, Z * Z / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of at least two independent measurements (Student 1908)."""
    from scipy.special import stdtrit  # half a second that most commands do not need

    mean, count = statistics.mean(values), len(values)
    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(values) / math.sqrt(count)
    return mean - half, mean + half


def accuracy_interval(accuracies: Sequence[float], total: int) -> tuple[float, float]:
    """The 95 % interval of the mean accuracy of models trained from several seeds, all judged on the same images.

    It allows for other seeds and for other images. Seeds alone would promise too much: a set of images that is easy is
    easy for all of them.
    """
    mean = statistics.mean(accuracies)
    low, high = join_intervals(mean, mean_interval(accuracies), wilson_interval(mean * total, total))
    return max(0.0, low), min(1.0, high)


def join_intervals(value: float, *intervals: tuple[float, float]) -> tuple[float, float]:
    """The interval of a value that several things scatter, from the intervals for each alone (Zou & Donner 2008)."""
    return (
        value - math.hypot(*(value - low for low, _ in intervals)),
        value + math.hypot(*(high - value for _, high in intervals)),
    )
