"""Early stopping of trials, by their score compared with that of the other trials."""

import math
import statistics
from collections.abc import Callable, Sequence

FACTOR = 3  # one in three of the trials that reach a rung continues
MIN_EPOCHS = 2  # no trial is pruned earlier, so that a slow start does not count
MIN_OTHERS = 3  # no trial is pruned before this many others have reached the same epoch

Curve = Sequence[float]  # the best score of a trial up to and including each of its epochs


def list_rungs(epochs: int) -> list[int]:
    """Returns the epochs at which successive halving compares trials of `epochs`: a third, a ninth, and so on."""
    rungs = {math.ceil(epochs / FACTOR**power) for power in range(1, epochs)}
    return sorted(rung for rung in rungs if MIN_EPOCHS <= rung < epochs)


def is_pruned_by_halving(own: Curve, others: Sequence[Curve], epochs: int) -> bool:
    """Returns True if a trial at a rung is not among the best third of the trials that have reached it.

    This is asynchronous successive halving in its stopping variant (Li et al. 2020, arXiv 1810.05934, and Ray Tune).
    """
    rung = len(own)
    reached = [other[rung - 1] for other in others if len(other) >= rung]
    if rung not in list_rungs(epochs) or len(reached) < MIN_OTHERS:
        return False
    return sum(other > own[-1] for other in reached) >= math.ceil((len(reached) + 1) / FACTOR)


def is_pruned_by_median(own: Curve, others: Sequence[Curve], epochs: int) -> bool:
    """Returns True if the best score of a trial is below the median of the other trials' mean score so far.

    This is the median stopping rule (Golovin et al. 2017, "Google Vizier"), on curves of the best score so far.
    """
    epoch = len(own)
    means = [statistics.fmean(other[:epoch]) for other in others if len(other) >= epoch]
    if epoch < MIN_EPOCHS or epoch == epochs or len(means) < MIN_OTHERS:
        return False
    return own[-1] < statistics.median(means)


# A rule takes the curve of a trial, the curves of the other trials and the planned epochs. `freeze-thaw` is not among
# them: there the oracle decides, from the configurations, too.
RULES: dict[str, Callable[[Curve, Sequence[Curve], int], bool]] = {
    "halving": is_pruned_by_halving,
    "median": is_pruned_by_median,
    "none": lambda own, others, epochs: False,
}
