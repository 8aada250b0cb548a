"""Coverage of the intervals over seeds in simulations: `python tests/simulated_seeds.py` prints the tables of the docs.

A model is correct on an image if the sum of a difficulty of the image, an effect of the seed and a residual is below a
threshold. All three are normal, so that the accuracy over all seeds and images is known.
"""

import itertools
import sys
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from keras_inat.intervals import accuracy_interval, difference_interval


@dataclass(frozen=True)
class Setup:
    """One situation to simulate."""

    num_seeds: int
    num_images: int
    accuracy: float
    seed_points: float  # standard deviation of the accuracy over seeds, in percentage points
    image_share: (
        float  # fraction of the variance within a seed that is the difficulty of the image, the same for all seeds
    )
    paired: bool = False  # a difference of two such configurations, with half of the difficulty in common


def simulate(setup: Setup, num_cases: int) -> tuple[float, float]:
    """Returns the fraction of intervals that cover the true value, and their mean width.

    With one seed, the true value is that of this seed.
    """
    rng = np.random.default_rng(0)
    num_covered = 0
    widths = []
    for _ in range(num_cases):
        common = rng.standard_normal(setup.num_images, np.float32)
        correct, truth = _draw(setup, common, rng)
        if setup.paired:
            other, other_truth = _draw(setup, common, rng)
            truth -= other_truth
            low, high = difference_interval(correct.astype(float) - other)
        else:
            low, high = accuracy_interval(correct)
        num_covered += low <= truth <= high
        widths.append(min(1.0, high) - max(-1.0 if setup.paired else 0.0, low))
    return num_covered / num_cases, float(np.mean(widths))


def _draw(setup: Setup, common: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Returns the outcomes `(seeds, images)` bool of one configuration, and its true accuracy."""
    threshold = ndtri(setup.accuracy)
    # The slope of the accuracy turns points into the scale of the effects, whose variances add up to 1.
    slope = np.exp(-(threshold**2) / 2) / np.sqrt(2 * np.pi)
    seed_variance = (setup.seed_points / 100 / slope) ** 2
    image_variance = (1 - seed_variance) * setup.image_share
    own = rng.standard_normal(setup.num_images, np.float32)
    difficulty = np.sqrt(image_variance / 2) * (common + own)
    seeds = np.sqrt(seed_variance) * rng.standard_normal((setup.num_seeds, 1))
    residual = rng.standard_normal((setup.num_seeds, setup.num_images), np.float32)
    residual *= np.float32(np.sqrt(1 - seed_variance - image_variance))
    truth = setup.accuracy
    if setup.num_seeds == 1:
        truth = float(ndtr((threshold - seeds[0, 0]) / np.sqrt(1 - seed_variance)))
    return residual < threshold - seeds - difficulty, truth


def main(num_cases: int = 2000) -> None:
    """Prints a row for each kind, number of seeds and standard deviation over seeds, over the other situations."""
    print("| | seeds | points over seeds | coverage, lowest | mean | highest | width, mean |")
    for paired, num_seeds, points in itertools.product((False, True), (1, 2, 3, 5), (0.0, 1.0, 3.0)):
        setups = itertools.product((200, 1000), (0.3, 0.7, 0.95), (0.2, 0.6, 0.9))
        found = np.array(
            [
                simulate(Setup(num_seeds, num, accuracy, points, share, paired), num_cases)
                for num, accuracy, share in setups
            ]
        )
        coverage = found[:, 0]
        print(
            f"| {'difference' if paired else 'accuracy'} | {num_seeds} | {points:.0f} | {coverage.min():.1%} "
            f"| {coverage.mean():.1%} | {coverage.max():.1%} | {100 * found[:, 1].mean():.1f} points |",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
