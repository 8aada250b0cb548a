"""Hyperband: many short trials, the best of which continue as longer ones."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed
from keras_tuner.engine.trial import TrialStatus

from keras_inat.errors import UserError
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial
from keras_inat.sweep.kerastuner import ResumableOracle, count_first_round, restore_round


class Hyperband(ResumableOracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al. 2018, arXiv 1603.06560). Its longer trials resume from the shorter ones."""

    def restore(self, config: Config, is_forbidden: Callable[[Mapping[str, Any]], bool]) -> None:
        """Restores the state; see `ResumableOracle.restore`.

        Raises:
            UserError: The space is too small for the first round, so that no trial would ever continue.
        """
        space = self.hyperparameters.space
        size = math.prod(len(hp.values) if isinstance(hp, Boolean | Choice | Fixed) else math.inf for hp in space)
        self._check_size(size)
        super().restore(config, is_forbidden)

    def restore_trial(self, trial: Trial) -> None:
        super().restore_trial(trial)
        restore_round(self, trial)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the next values; see `keras_tuner.Oracle.populate_space`."""
        answer = super().populate_space(trial_id)
        any_continued = any("tuner/trial_id" in trial.hyperparameters.values for trial in self.trials.values())
        if answer["status"] == TrialStatus.STOPPED and not any_continued:
            # Conditions and forbidden combinations make the space smaller than the product of its choices.
            self._check_size(len(self.trials))
        return answer

    def _check_size(self, size: float) -> None:
        needed = count_first_round(self)
        if size < needed:
            raise UserError(
                f"`sweep.oracle`=hyperband begins with {needed} configurations, and `sweep.space` has {size}: "
                "give it more choices or fewer `sweep.epochs`, or use another oracle"
            )
