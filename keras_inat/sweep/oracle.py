"""The oracle that proposes the configurations of a sweep."""

import functools
from typing import Any

import keras_tuner

from keras_inat.settings.schema import Config
from keras_inat.sweep.bayesian import Bayesian
from keras_inat.sweep.kerastuner import Grid, Hyperband, Random, ResumableOracle
from keras_inat.sweep.space import build_hyperparameters, is_forbidden

ORACLES: dict[str, type[ResumableOracle]] = {
    "bayesian": Bayesian,
    "random": Random,
    "grid": Grid,
    "hyperband": Hyperband,
}
HALVING_FACTOR = 3


def build_oracle(config: Config) -> ResumableOracle:
    """Builds the oracle that `sweep.oracle` names and restores its state from the recorded trials."""
    arguments: dict[str, Any] = list_arguments(config) | {
        "tune_new_entries": False,
        "allow_new_entries": False,
        "max_consecutive_failed_trials": config.sweep.trials + 1,
    }
    if config.sweep.oracle == "hyperband":
        arguments |= {"max_epochs": config.sweep.epochs, "factor": HALVING_FACTOR, "hyperband_iterations": None}
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
