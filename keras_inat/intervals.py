"""Estimates with their 95 % confidence intervals.

Commands import this module, so `scipy.stats` is avoided: it takes 1.5 s to import, `scipy.special` 0.5 s. The intervals
agree with `scipy.stats.binomtest` to 4e-9 (`Z` has seven digits) and with `scipy.stats.t.interval` to 1e-15.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # the 97.5 % quantile of the normal distribution
MAX_DIGITS = 9  # after the point; smaller numbers are the rounding errors of zero


def wilson_interval(correct: float, total: float) -> tuple[float, float]:
    """Returns the 95 % score interval of a proportion (Wilson 1927), also of a fractional number of correct images."""
    fraction = correct / total
    correction = Z * Z / total
    center = (fraction + correction / 2) / (1 + correction)
    half = Z * math.sqrt(fraction * (1 - fraction) / total + correction / (4 * total)) / (1 + correction)
    return max(0.0, center - half), min(1.0, center + half)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the 95 % interval of the mean of at least two independent values (Student 1908)."""
    from scipy.special import stdtrit

    mean = statistics.mean(values)
    standard_error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, 0.975)) * standard_error
    return mean - half, mean + half


def accuracy_interval(correct: np.ndarray) -> tuple[float, float]:
    """Returns the 95 % interval of the mean accuracy over seeds, given `correct`, `(seeds, images)` bool.

    It covers other seeds and other images. With a single seed it is Wilson's, which covers other images alone.
    """
    mean = float(correct.mean())
    size = count_effective_images(correct)
    return interval_over_seeds(
        mean, wilson_interval(mean * size, size), correct.mean(axis=1), measure_residual(correct)
    )


def mean_recall_interval(correct: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Returns the 95 % interval of the mean balanced accuracy over seeds; see `accuracy_interval`.

    Args:
        correct: `(seeds, images)` bool.
        labels: `(images,)` int, the classes.
    """
    members = [correct[:, labels == label] for label in np.unique(labels)]
    sizes = [count_effective_images(member) for member in members]
    hits = [member.mean() * size for member, size in zip(members, sizes, strict=True)]
    by_seed = np.mean([member.mean(axis=1) for member in members], axis=0)
    over_images = balanced_accuracy_interval(hits, sizes)
    residual = sum(map(measure_residual, members)) / len(members) ** 2
    return interval_over_seeds(float(by_seed.mean()), over_images, by_seed, residual)


def difference_interval(differences: np.ndarray, labels: np.ndarray | None = None) -> tuple[float, float]:
    """Returns the 95 % interval of the mean difference of paired proportions over seeds and images.

    Args:
        differences: `(seeds, images)` float, the score of one model minus that of the other, from -1 to 1.
        labels: `(images,)` int, the classes. If given, every class has the same weight.
    """
    groups = np.zeros(differences.shape[1], int) if labels is None else labels
    members = [differences[:, groups == group] for group in np.unique(groups)]
    by_seed = np.mean([member.mean(axis=1) for member in members], axis=0)
    value = float(by_seed.mean())
    ends = np.array([paired_interval(member.mean(axis=0)) for member in members])
    means = np.array([member.mean() for member in members])
    # The images of different classes are independent (Zou, Huang & Zhang 2009).
    below = math.hypot(*(means - ends[:, 0])) / len(members)
    above = math.hypot(*(ends[:, 1] - means)) / len(members)
    residual = sum(map(measure_residual, members)) / len(members) ** 2
    return interval_over_seeds(value, (value - below, value + above), by_seed, residual)


def interval_over_seeds(
    value: float, over_images: tuple[float, float], by_seed: Sequence[float] | np.ndarray, residual: float = 0.0
) -> tuple[float, float]:
    """Returns the 95 % interval of a mean over several seeds and images, given its interval over the images alone.

    Every seed is evaluated on the same images, so seeds and images are crossed random effects (Scheffé 1959). Let A be
    the variance of the mean over seeds, B that over images and E that of their residual, which A and B both contain.
    The variance A + B - E is unbiased, but two or three seeds hardly tell A. Therefore A gets the quantile of Student's
    t, and counts only as far as it stands out from B: with the weight (A / (A + B / seeds))². `docs/intervals.md` has
    the coverage in simulations, which chose this weight, beside other rules.

    Args:
        value: The mean.
        over_images: Its interval for new images and the same seeds.
        by_seed: The mean of each seed.
        residual: The variance E, see `measure_residual`. Where it is unknown, 0 makes the interval too wide.
    """
    from scipy.special import stdtrit

    num_seeds = len(by_seed)
    if num_seeds < 2:
        return over_images
    low, high = over_images
    images = ((high - low) / 2 / Z) ** 2
    seeds = float(np.var(by_seed, ddof=1)) / num_seeds
    if seeds == 0:
        return over_images
    weight = (seeds / (seeds + images / num_seeds)) ** 2
    spread = float(stdtrit(num_seeds - 1, 0.975)) ** 2 * seeds * weight
    excess = math.sqrt(max(0.0, spread - Z**2 * min(residual, images)))
    return value - math.hypot(value - low, excess), value + math.hypot(high - value, excess)


def measure_residual(values: np.ndarray) -> float:
    """Returns the variance of the mean of `values`, `(seeds, images)`, that neither seed nor image explains."""
    num_seeds, num_images = values.shape
    if num_seeds < 2 or num_images < 2:
        return 0.0
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return float((residuals**2).sum()) / ((num_seeds - 1) * (num_images - 1)) / values.size


def count_effective_images(correct: np.ndarray) -> float:
    """Returns the number of images with the information of `correct`, `(seeds, images)` bool, the outcome of each seed.

    It is the number of images if all seeds agree, and up to seeds times as many if their errors are independent.
    """
    num_seeds, num_images = correct.shape
    by_image = correct.mean(axis=0)
    fraction = float(by_image.mean())
    variance = float(by_image.var(ddof=1)) if num_images > 1 else 0.0
    binomial = fraction * (1 - fraction)
    if binomial == 0:
        return num_images  # seeds that are all correct, or all wrong, may well agree on other images
    return num_images * binomial / min(max(variance, binomial / num_seeds), binomial)


def balanced_accuracy_interval(correct: Sequence[float], support: Sequence[float]) -> tuple[float, float]:
    """Returns the 95 % interval of balanced accuracy, the mean recall of the classes that have images.

    The recalls of the classes are independent. The interval of each is exact (Clopper & Pearson 1934), and the interval
    of their mean follows from them (Zou, Huang & Zhang 2009). In simulations with one to
    four classes of 6 images beside larger ones, its coverage was 93 % or more. Wilson's intervals of the classes gave
    87 %. A bootstrap would have no width where every image of a class is classified alike.

    Args:
        correct: The number of correctly classified images of each class, which may be fractional.
        support: The number of images of each class.
    """
    from scipy.special import betaincinv

    hits = np.asarray(correct, float)
    total = np.asarray(support, float)
    hits = hits[total > 0]
    total = total[total > 0]
    recall = hits / total
    # The parameters of a beta distribution are positive. The ends 0 and 1 of an interval are exact.
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1e-9), total - hits + 1, 0.025), 0.0)
    high = np.where(hits < total, betaincinv(hits + 1, np.maximum(total - hits, 1e-9), 0.975), 1.0)
    mean = float(recall.mean())
    below = math.hypot(*(recall - low)) / len(total)
    above = math.hypot(*(high - recall)) / len(total)
    return max(0.0, mean - below), min(1.0, mean + above)


def paired_interval(differences: np.ndarray) -> tuple[float, float]:
    """Returns the 95 % interval of a mean difference of paired proportions (Bonett & Price 2012).

    It keeps its coverage where the two rarely differ.

    Args:
        differences: `(images,)` float, the score of one model minus that of the other for each image, from -1 to 1.
    """
    total = len(differences) + 2  # one image that the second model gains, and one that it loses
    mean = float(differences.sum()) / total
    half = Z * math.sqrt(((float((differences**2).sum()) + 2) / total - mean**2) / total)
    return mean - half, mean + half


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


def count_digits(number: float, digits: int) -> int:
    """Returns the digits after the point, at least `digits`, with which a number other than zero is not printed as 0.

    The end of an interval keeps its sign in this way, which says whether the interval excludes zero.
    """
    while digits < MAX_DIGITS and number and not round(number, digits):
        digits += 1
    return digits


def estimate_proportion(correct: int, total: int) -> Estimate:
    """Returns a proportion of images with Wilson's score interval."""
    return Estimate(correct / total, *wilson_interval(correct, total), total, "images")


def estimate_mean(values: Sequence[float], unit: str) -> Estimate:
    """Returns the mean of at least two values with Student's t interval."""
    return Estimate(float(np.mean(values)), *mean_interval(values), len(values), unit)
