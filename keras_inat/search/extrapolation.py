"""The final scores of trials, extrapolated from the first epochs of their curves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_inat.search.pruning import Curve

# The prior variance of an error, as a fraction of the variance of all scores at the same epoch, and the number of
# completed trials that it counts as.
PRIOR_FRACTION = 0.3
PRIOR_TRIALS = 3
MIN_VARIANCE = 1e-5  # of the scores at an epoch


class Extrapolation(NamedTuple):
    """A linear regression of the gain from an epoch to the end on the score at that epoch."""

    center: float  # mean score of the completed trials at the epoch
    gain: float  # their mean gain
    slope: float  # additional gain for each unit of the score above the center
    variance: float  # of the error

    def predict(self, score: float) -> float:
        """Returns the expected final score of a trial."""
        return score + self.gain + self.slope * (score - self.center)


def fit_extrapolation(epoch: int, completed: Sequence[Curve], started: Sequence[Curve]) -> Extrapolation:
    """Fits the regression of an epoch to the completed trials.

    The slope is shrunk towards zero, which means the same gain for every trial. The variance tells how much a score at
    this epoch says. If it misleads, the variance is large, and a search relies on the configurations instead.

    Args:
        epoch: The number of the epoch, from 1.
        completed: The curves of the completed trials, each the best score up to and including each epoch.
        started: The curves of all trials.
    """
    variance = max(float(np.var([curve[epoch - 1] for curve in started if len(curve) >= epoch])), MIN_VARIANCE)
    known = [(curve[epoch - 1], curve[-1] - curve[epoch - 1]) for curve in completed if len(curve) >= epoch]
    if not known:
        return Extrapolation(0.0, 0.0, 0.0, PRIOR_FRACTION * variance)
    scores, gains = np.array(known).T
    centered = scores - scores.mean()
    slope = centered @ gains / (centered @ centered + variance)
    residuals = gains - gains.mean() - slope * centered
    squares = PRIOR_TRIALS * PRIOR_FRACTION * variance + residuals @ residuals
    return Extrapolation(
        float(scores.mean()), float(gains.mean()), float(slope), float(squares / (PRIOR_TRIALS + len(known)))
    )
