"""The oracles that propose the next configuration: random and grid search here, the others in their own modules."""

import functools
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from keras_inat.settings.schema import Config
from keras_inat.sweep.bayesian import Bayesian
from keras_inat.sweep.hyperband import Hyperband
from keras_inat.sweep.kerastuner import ResumableOracle, next_combination
from keras_inat.sweep.space import build_hyperparameters, is_forbidden

# KerasTuner starts with three random configurations for each dimension and multiplies the standard deviation by 2.6. On
# synthetic spaces, that takes 1.5 times as many epochs to find the best configuration.
BAYESIAN = {"num_initial_points": 4, "beta": 1.0}
HALVING_FACTOR = 3


class Random(ResumableOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class Grid(ResumableOracle, keras_tuner.oracles.GridSearchOracle):
    """Grid search in the order of the choices. A range counts as all its integers, or as ten other numbers."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the next untried values; see `keras_tuner.Oracle.populate_space`.

        KerasTuner's own method needs a state that the recorded trials do not contain.
        """
        space = self.get_space()
        values: dict[str, Any] | None = {hp.name: hp.default for hp in space.space if space.is_active(hp)}
        while values is not None and self.was_tried(values):
            values = next_combination(self, values)
        return {"status": TrialStatus.RUNNING if values else TrialStatus.STOPPED, "values": values}


ORACLES: dict[str, type[ResumableOracle]] = {
    "bayesian": Bayesian,
    "random": Random,
    "grid": Grid,
    "hyperband": Hyperband,
}


def build_oracle(config: Config) -> ResumableOracle:
    """Builds the oracle that `sweep.oracle` names and restores its state from the recorded trials."""
    arguments: dict[str, Any] = list_arguments(config) | {
        "tune_new_entries": False,
        "allow_new_entries": False,
        "max_consecutive_failed_trials": config.sweep.trials + 1,
    }
    if config.sweep.oracle == "hyperband":
        arguments |= {"max_epochs": config.sweep.epochs, "factor": HALVING_FACTOR, "hyperband_iterations": None}
    if config.sweep.oracle == "bayesian":
        arguments |= BAYESIAN
    oracle = ORACLES[config.sweep.oracle](**arguments)
    oracle.restore(config, functools.partial(is_forbidden, config))
    return oracle


def list_arguments(config: Config) -> dict[str, Any]:
    """Returns the arguments that every oracle of KerasTuner takes."""
    return {
        "objective": keras_tuner.Objective("val_accuracy", "max"),
        "seed": config.run.seed + 1,  # KerasTuner takes 0 for a random seed
        "hyperparameters": build_hyperparameters(config),
    }
