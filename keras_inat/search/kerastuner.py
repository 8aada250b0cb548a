"""The private names of KerasTuner that the sweep needs. No other module uses them.

`tests/search/test_kerastuner.py` lists these names and fails if a version of KerasTuner lacks one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src.engine import conditions

from keras_inat.errors import UserError
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial
from keras_inat.store.sweeps import SweepFolder, locate_sweep

# A hyperparameter with this condition is active only if another one has one of the given values.
Condition = conditions.Parent

STATUSES = {"completed": TrialStatus.COMPLETED, "pruned": TrialStatus.COMPLETED, "failed": TrialStatus.FAILED}
SCORE = "score"  # the name of a trial's score; `Trial.objective` says which one it is
SEED_STRIDE = 100_000  # distance between the random seeds of one proposal and those of the next
MAX_COLLISIONS = 2000  # random configurations that may have been tried before the space counts as exhausted

conditions.print = lambda *_: None  # KerasTuner prints every condition that it sends


class ResumableOracle(keras_tuner.Oracle):
    """An oracle whose state is restored from the records of a sweep.

    KerasTuner cannot read its own files after a kill has cut one short, so none is written. The trials that were
    running when the sweep stopped run again with the same values.
    """

    is_forbidden: Callable[[Mapping[str, Any]], bool]  # returns True for values that must not be proposed
    _retry_queue: list[str]

    def restore(self, config: Config, trials: Iterable[Trial]) -> None:
        """Restores the state after the recorded trials of a sweep. Raises a `UserError` if one is missing."""
        folder = locate_sweep(config)
        self.config = config
        self.max_trials = config.sweep.trials
        self.verbose = 0
        for number, trial in enumerate(trials):
            if int(trial.id) != number:  # KerasTuner counts the trials to number a new one
                raise UserError(
                    f"trial {number} is missing from {folder.trials}: put it back, or delete {folder.path} to start "
                    "anew"
                )
            self.restore_trial(trial)

    def restore_trial(self, trial: Trial) -> None:
        """Restores one recorded trial. Trials come in order of creation."""
        hyperparameters = self.get_space()
        hyperparameters.values = dict(trial.values)
        restored = KerasTunerTrial(hyperparameters, trial.id, STATUSES.get(trial.status, TrialStatus.RUNNING))
        restored.score = trial.score
        self.trials[trial.id] = restored
        self.start_order.append(trial.id)
        self._record_values(restored)
        if trial.status in STATUSES:
            self.end_order.append(trial.id)
        else:
            # The queue is a stack: its last trial is proposed first.
            self._retry_queue.insert(0, trial.id)

    def select_untried(self, candidates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the different values that were not tried and are not forbidden."""
        unique = {self._compute_values_hash(values): values for values in candidates}
        return [values for values in unique.values() if not self._duplicate(values)]

    def save(self) -> None:
        """Writes nothing, because the records contain the state."""

    def _save_trial(self, trial: KerasTunerTrial) -> None:
        """Writes nothing, because the records contain the trial."""

    def _random_values(self) -> dict[str, Any] | None:
        # The values depend on the seed and on the number of trials only, whether or not the sweep was interrupted.
        self._seed_state = self.seed + SEED_STRIDE * len(self.trials)
        self._max_collisions = MAX_COLLISIONS
        return super()._random_values()

    def _duplicate(self, values: dict[str, Any]) -> bool:
        return super()._duplicate(values) or self.is_forbidden(values)


class Random(ResumableOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class Grid(ResumableOracle, keras_tuner.oracles.GridSearchOracle):
    """Grid search in the order of the choices. A range counts as all its integers, or as ten other numbers."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the next untried values. KerasTuner's own method needs a state that the records do not contain."""
        space = self.get_space()
        values: dict[str, Any] | None = {hp.name: hp.default for hp in space.space if space.is_active(hp)}
        while values is not None and self._duplicate(values):
            values = self._get_next_combination(values)
        return {"status": TrialStatus.RUNNING if values else TrialStatus.STOPPED, "values": values}


def set_folder(oracle: keras_tuner.Oracle, folder: SweepFolder) -> None:
    """Makes an oracle write its files into the folder of a sweep, and print nothing."""
    oracle.verbose = 0
    oracle._set_project_dir(folder.path, "tuner")
