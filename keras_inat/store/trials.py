"""A trial of a sweep, the same record for the oracle, the folder on disk and the report."""

import itertools
from typing import Any, Literal

from keras_inat.store.stored import Stored

Status = Literal["running", "completed", "pruned", "failed"]


class Trial(Stored):
    """One configuration of a sweep and its outcome, `trial.json`.

    Attributes:
        id: Its number, zero-padded.
        values: Hyperparameters as KerasTuner encodes them.
        settings: The same as settings, by dotted name. A setting that does not apply is missing.
        status: "running", "completed", "pruned" or "failed".
        score: Best validation accuracy of its epochs; None while it runs or when it failed.
        estimate: Estimated final score of a pruned trial.
        epochs: Epochs trained.
        val_accuracies: Validation accuracy of each epoch.
        seconds: Duration of the training.
        parameters: Parameters of the network.
        macs: Multiply-accumulates for one image.
        started: UTC, ISO 8601.
        ended: UTC, ISO 8601.
        error: The reason of a failure, in one line.
    """

    id: str
    values: dict[str, Any]
    settings: dict[str, Any]
    status: Status = "running"
    score: float | None = None
    estimate: float | None = None
    epochs: int | None = None
    val_accuracies: tuple[float, ...] = ()
    seconds: float | None = None
    parameters: int | None = None
    macs: int | None = None
    started: str = ""
    ended: str = ""
    error: str = ""

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
