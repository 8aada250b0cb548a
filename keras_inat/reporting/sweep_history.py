"""A sweep for the report: its trials, its images, and the values of its hyperparameters."""

import functools
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from keras_inat.reporting import formatting
from keras_inat.store.balance import Objective, choose_common
from keras_inat.store.records import DataSummary, Trial, find_best
from keras_inat.store.sweeps import SweepFolder, SweepIdentity

Level = bool | int | float | str


@dataclass(frozen=True)
class SweepHistory:
    """A sweep and its trials."""

    folder: SweepFolder
    trials: list[Trial]  # in order of creation
    data: DataSummary | None = None  # the images; None if no trial has a result
    identity: SweepIdentity | None = None  # its space and the hash of its images; None if the file is damaged
    epoch: int | None = None  # the epoch after which the trials are compared; None: at their end

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def data_hash(self) -> str:
        """The hash of the images; a text of its own if it is unknown."""
        if self.data:
            return self.data.hash
        return self.identity.data_hash if self.identity else f"unknown: {self.name}"

    @property
    def completed(self) -> list[Trial]:
        """The completed trials, in order of creation."""
        return [trial for trial in self.trials if trial.status == "completed" and trial.score is not None]

    @property
    def best(self) -> Trial | None:
        """The completed trial with the best score."""
        return find_best(self.trials)

    @property
    def objective(self) -> Objective:
        """The score that selects."""
        return choose_common(trial.objective for trial in self.trials)

    @functools.cached_property
    def settings(self) -> list[str]:
        """Dotted names of the hyperparameters that took more than one value, in the order of the space."""
        space = self.identity.space if self.identity else {}
        names = dict.fromkeys([*space, *(name for trial in self.trials for name in trial.settings)])
        return [name for name in names if len({read_level(trial, name) for trial in self.trials}) > 1]

    @property
    def searched(self) -> list[str]:
        """Dotted names of the hyperparameters that took, or could have taken, more than one value."""
        space = self.identity.space if self.identity else {}
        choices = [name for name in space if len(self.list_choices(name)) > 1]
        return [name for name in dict.fromkeys([*space, *self.settings]) if name in choices or name in self.settings]

    def list_choices(self, setting: str) -> list[Level]:
        """Returns the choices that the space gives a hyperparameter; none if it is a range or has a single value."""
        domain = self.identity.space.get(setting) if self.identity else None
        choices = domain.get("choices") if isinstance(domain, dict) else domain
        return [_name_list(choice) for choice in choices if choice is not None] if isinstance(choices, list) else []

    def is_logarithmic(self, setting: str) -> bool:
        """Returns True if the space of the sweep gives a hyperparameter a logarithmic scale.

        A range says so with `log: true`. Choices have one if their ratios differ less than their differences.
        """
        domain = self.identity.space.get(setting) if self.identity else None
        if isinstance(domain, dict) and "choices" not in domain:
            return bool(domain.get("log"))
        choices = self.list_choices(setting)
        if not choices or not all(is_number(choice) and choice > 0 for choice in choices):
            return False
        levels = np.unique(np.array(choices, float))
        return len(levels) > 2 and _measure_unevenness(np.log(levels)) < _measure_unevenness(levels)

    def truncate(self) -> "SweepHistory":
        """Returns the sweep as if all trials had ended with the first one that was stopped early.

        Trials that were trained for longer were selected by their score, which the report wants to explain. The
        truncated trials are not selected. A sweep without a trial that was stopped early is returned as it is.
        """
        ended = [trial for trial in self.trials if trial.curve and trial.status in ("completed", "pruned")]
        epoch = min((len(trial.curve) for trial in ended if trial.status == "pruned"), default=None)
        if epoch is None:
            return self
        trials = []
        for trial in ended:
            score = trial.curve[:epoch][-1]
            trials.append(trial.model_copy(update={"status": "completed", "score": score}))
        return replace(self, trials=trials, epoch=epoch)


def read_sweep(folder: SweepFolder) -> SweepHistory:
    """Reads a sweep. Damaged files are skipped with a warning."""
    identity = folder.find_identity()
    return SweepHistory(folder, folder.read_trials(identity), folder.read_data(identity), identity)


def read_level(trial: Trial, setting: str) -> Level | None:
    """Returns the value of a hyperparameter. A list becomes text, and None says that it does not apply."""
    return _name_list(trial.settings.get(setting))


def _name_list(value: Any) -> Any:
    """Returns a list as text, and any other value as it is."""
    return formatting.setting_value(value) if isinstance(value, list) else value


def _measure_unevenness(levels: np.ndarray) -> float:
    """Returns the coefficient of variation of the distances between neighboring levels."""
    distances = np.diff(levels)
    return float(distances.std() / distances.mean())


def is_number(value: Any) -> TypeGuard[float]:
    """Returns whether a value is a number on a scale, which True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
