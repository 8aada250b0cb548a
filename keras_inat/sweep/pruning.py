"""Which trials to stop early, judged by the validation accuracy of their epochs beside that of the other trials."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keras_inat.files import read_jsonl

# Of the trials that reach a rung, one in so many goes on.
FACTOR = 3
# No trial is judged before so many epochs, which is fair to slow starters, nor before so many others got that far.
MIN_EPOCHS, MIN_OTHERS = 2, 3

# A trial's best validation accuracy until each of its epochs, first to last.
Curve = Sequence[float]


def list_rungs(epochs: int) -> list[int]:
    """The epochs at which successive halving judges trials of `epochs`: a third of them, a ninth, and so on."""
    rungs = []
    for power in range(1, epochs):
        rung = math.ceil(epochs / FACTOR**power)
        if rung < MIN_EPOCHS:
            break
        rungs.append(rung)
    return sorted(set(rungs) - {epochs})


def loses_by_halving(own: Curve, others: Sequence[Curve], epochs: int) -> bool:
    """Whether a trial is not among the best third of those that reached its rung.

    Asynchronous successive halving, in the form that stops trials (Li et al. 2020, arXiv 1810.05934, and Ray Tune).
    """
    rung = len(own)
    reached = [other[rung - 1] for other in others if len(other) >= rung]
    if rung not in list_rungs(epochs) or len(reached) < MIN_OTHERS:
        return False
    return sum(other > own[-1] for other in reached) >= math.ceil((len(reached) + 1) / FACTOR)


def loses_by_median(own: Curve, others: Sequence[Curve], epochs: int) -> bool:
    """Whether a trial's best is below the median of the other trials' mean accuracy so far.

    The median stopping rule (Golovin et al. 2017, "Google Vizier"), on curves of the best so far.
    """
    epoch = len(own)
    means = [statistics.fmean(other[:epoch]) for other in others if len(other) >= epoch]
    if epoch < MIN_EPOCHS or epoch == epochs or len(means) < MIN_OTHERS:
        return False
    return own[-1] < statistics.median(means)


RULES: dict[str, Callable[[Curve, Sequence[Curve], int], bool]] = {
    "halving": loses_by_halving,
    "median": loses_by_median,
    "none": lambda own, others, epochs: False,
}


def read_curves(trials: Path) -> dict[str, list[float]]:
    """The curves of the trials in `trials`, by their id, from their `metrics.jsonl`."""
    found = sorted(path for path in trials.glob("*/metrics.jsonl") if path.parent.name.isdecimal())
    return {path.parent.name: read_curve(path) for path in found}


def read_curve(metrics: Path) -> list[float]:
    """The curve of the epochs that were recorded."""
    return build_curve(row["val_accuracy"] for row in read_jsonl(metrics))


def build_curve(accuracies: Iterable[float]) -> list[float]:
    """The best of the epochs' validation accuracies until each of them."""
    return list(itertools.accumulate(accuracies, max))


def estimate_end(own: Curve, finished: Sequence[Curve]) -> float:
    """What a pruned trial would have had at its end: as much more as the finished ones gained from there, by median."""
    gains = [other[-1] - other[len(own) - 1] for other in finished if len(other) >= len(own)]
    return own[-1] + (statistics.median(gains) if gains else 0.0)
