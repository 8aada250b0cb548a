"""A trial of a sweep, the same record for the oracle, the folder on disk and the report."""

import itertools
from typing import Any, Literal

from keras_inat.store.stored import Stored

Status = Literal["running", "completed", "pruned", "failed"]


class Trial(Stored):
    """One configuration of a sweep and its outcome, `trial.json`."""

    id: str  # its number, zero-padded
    values: dict[str, Any]  # hyperparameters as KerasTuner encodes them
    settings: dict[str, Any]  # the same as settings, by dotted name. A setting that does not apply is missing
    status: Status = "running"  # "running", "completed", "pruned" or "failed"
    score: float | None = None  # best validation accuracy of its epochs; None while it runs or when it failed
    estimate: float | None = None  # estimated final score of a pruned trial
    epochs: int | None = None  # epochs trained
    val_accuracies: tuple[float, ...] = ()  # validation accuracy of each epoch
    seconds: float | None = None  # duration of the training
    parameters: int | None = None  # parameters of the network
    macs: int | None = None  # multiply-accumulates for one image
    started: str = ""  # UTC, ISO 8601
    ended: str = ""  # UTC, ISO 8601
    error: str = ""  # the reason of a failure, in one line

    @property
    def final_score(self) -> float | None:
        """The observed score of a completed trial, the estimated final score of a pruned one."""
        return self.score if self.status == "completed" else self.estimate

    @property
    def curve(self) -> list[float]:
        """Best validation accuracy up to and including each epoch."""
        return list(itertools.accumulate(self.val_accuracies, max))


def find_best(trials: list[Trial]) -> Trial | None:
    """Returns the completed trial with the best score, the earliest among equals."""
    completed = [trial for trial in trials if trial.status == "completed" and trial.score is not None]
    return max(completed, key=lambda trial: trial.score or 0.0, default=None)
