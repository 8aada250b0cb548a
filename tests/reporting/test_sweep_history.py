"""Sweeps with trials that were stopped early, and the scales of their hyperparameters."""

from pathlib import Path
from typing import Any

import pytest

from keras_inat.reporting.sweep_history import SweepHistory
from keras_inat.store.records import Trial
from keras_inat.store.sweeps import SweepFolder, SweepIdentity


def make_trial(number: str, status: str, *curve: float, size: int = 32) -> Trial:
    score = curve[-1] if curve else None
    settings = {"a.size": size}
    return Trial(id=number, values={}, settings=settings, status=status, score=score, val_accuracies=curve)


def make_sweep(*trials: Trial) -> SweepHistory:
    return SweepHistory(SweepFolder(Path("sweep")), list(trials))


def test_trials_are_compared_where_the_first_was_stopped() -> None:
    whole = make_trial("0", "completed", 0.1, 0.2, 0.3, 0.5, 0.6)
    failed = make_trial("5", "failed")
    running = make_trial("6", "running")
    assert make_sweep(whole, failed).truncate().epoch is None
    short = make_trial("1", "completed", 0.4, size=64)  # ended by early stopping
    pruned = make_trial("2", "pruned", 0.1, 0.2, 0.3, size=128)
    first = make_trial("3", "pruned", 0.3, 0.3, size=256)
    truncated = make_sweep(whole, short, pruned, first, failed, running).truncate()
    assert truncated.epoch == 2
    scores = [(trial.id, trial.score) for trial in truncated.completed]
    assert scores == [("0", 0.2), ("1", 0.4), ("2", 0.2), ("3", 0.3)]


@pytest.mark.parametrize(
    ("domain", "logarithmic"),
    [
        ({"min": 1e-4, "max": 2e-4, "log": True}, True),
        ({"min": 0.0, "max": 0.5}, False),
        ({"min": 1e-4, "max": 0.5, "log": False}, False),
        ([16, 64, 32], True),
        ({"choices": [1e-4, 1e-3, 1e-2], "when": {"a.b": 1}}, True),
        ([0.01, 0.25, 0.49], False),
        ([0.0, 0.2, 0.4], False),
        ([16, 64], False),  # Both scales give the same columns.
        (["16", "32", "64"], False),
        (0.5, False),
    ],
)
def test_the_space_gives_the_scale(domain: Any, logarithmic: bool) -> None:
    identity = SweepIdentity(space={"a.rate": domain}, settings={}, data_hash="")
    assert SweepHistory(SweepFolder(Path("sweep")), [], identity=identity).is_logarithmic("a.rate") is logarithmic
    assert not SweepHistory(SweepFolder(Path("sweep")), []).is_logarithmic("a.rate")
