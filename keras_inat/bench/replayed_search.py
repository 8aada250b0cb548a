"""A search over recorded trials, with their accuracies in place of trainings."""

import csv
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras_tuner
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from sklearn.exceptions import ConvergenceWarning

from keras_inat.errors import UserError
from keras_inat.search.kerastuner import set_folder
from keras_inat.search.oracle import build_oracle, list_arguments
from keras_inat.search.pruning import RULES
from keras_inat.search.records import Records
from keras_inat.search.runner import end_trial
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial, build_curve


class Method(NamedTuple):
    """A search method."""

    oracle: str | None  # A value of `sweep.oracle`, or None for the Bayesian oracle of KerasTuner
    prune: str  # A value of `sweep.prune`


METHODS = {
    "KerasTuner's Bayesian": Method(None, "none"),
    "random": Method("random", "none"),
    "ours, without pruning": Method("bayesian", "none"),
    "ours": Method("bayesian", "halving"),
}

# The validation accuracies by epoch of every configuration of a space. Its settings, as text, are the key.
Curves = Mapping[tuple[str, ...], Sequence[float]]


@dataclass
class Search:
    """The course of a search."""

    best: list[float]  # the best score of a completed trial, after each trial
    epochs: list[int]  # the total number of trained epochs, after each trial
    repeats: int  # the number of trials that repeat an earlier configuration

    def count_epochs(self, score: float) -> int | None:
        """Returns the number of epochs until a trial reaches `score`, or None if no trial does."""
        return next((spent for best, spent in zip(self.best, self.epochs, strict=True) if best >= score), None)

    def find_best(self, epochs: int) -> float:
        """Returns the best score within `epochs` epochs, 0.0 if no trial ends within them."""
        return max((best for best, spent in zip(self.best, self.epochs, strict=True) if spent <= epochs), default=0.0)


def read_recorded(path: Path, config: Config) -> Curves:
    """Reads a `trials.csv` that holds every configuration of `sweep.space`, trained for `sweep.epochs` epochs.

    Raises:
        UserError: The file lacks settings, configurations or epochs.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    space = config.sweep.space
    if not all(isinstance(choices, list) for choices in space.values()) or not set(space) <= set(rows[0]):
        raise UserError(f"`sweep.space` must be lists of choices for columns of {path}. Received: {list(space)}.")
    curves = {}
    for row in rows:
        configuration = tuple(row[name] for name in space)
        curves[configuration] = [float(accuracy) for accuracy in row["val_accuracies"].split()]
    wanted = set(itertools.product(*(map(str, choices) for choices in space.values())))  # type: ignore[arg-type]
    if not wanted <= set(curves) or {len(curve) for curve in curves.values()} != {config.sweep.epochs}:
        raise UserError(
            f"{path} does not hold every configuration of `sweep.space` with {config.sweep.epochs} epochs: use the "
            "choices and the epochs of configs/replay.yaml"
        )
    return curves


def replay(config: Config, curves: Curves, method: str, folder: Path, budget: int) -> Search:
    """Runs a search with recorded accuracies in place of trainings.

    Args:
        config: The configuration of the recorded sweep. `run.seed` is the seed of the search.
        curves: The accuracies of every configuration of the space.
        method: A key of `METHODS`.
        folder: An empty folder for the records of the search.
        budget: The search ends after this number of epochs.
    """
    oracle_name, prune = METHODS[method]
    config = override(config, {"run.directory": str(folder), "sweep.prune": prune})
    if oracle_name:
        config = override(config, {"sweep.oracle": oracle_name})
    records = Records(config, "")
    oracle = build_oracle(config) if oracle_name else _build_kerastuner_oracle(records)
    search = Search([], [], 0)
    tried: set[tuple[str, ...]] = set()
    spent = 0
    while spent < budget and (trial := _propose(oracle)).status == TrialStatus.RUNNING:
        record = records.begin(trial.trial_id, trial.hyperparameters.values)
        configuration = tuple(str(record.settings[setting]) for setting in config.sweep.space)
        search.repeats += configuration in tried
        tried.add(configuration)
        record = end_trial(records, oracle, _replay_trial(records, record, curves[configuration]))
        spent += record.epochs or 0
        completed = record.score if record.status == "completed" and record.score else 0.0
        search.best.append(max([completed, *search.best[-1:]]))
        search.epochs.append(spent)
    return search


def _replay_trial(records: Records, trial: Trial, accuracies: Sequence[float]) -> Trial:
    """Returns the record of a trial with these validation accuracies, pruned like a trained trial."""
    sweep = records.config.sweep
    others = [other.curve for other in records.read_trials() if other.id != trial.id]
    seen: list[float] = []
    pruned = False
    for accuracy in accuracies:
        seen.append(accuracy)
        pruned = RULES[sweep.prune](build_curve(seen), others, sweep.epochs)
        if pruned:
            break
    status = "pruned" if pruned else "completed"
    return trial.model_copy(
        update={"status": status, "score": max(seen), "epochs": len(seen), "val_accuracies": tuple(seen)}
    )


def _propose(oracle: keras_tuner.Oracle) -> KerasTunerTrial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the Gaussian processes of KerasTuner often end at a bound
        return oracle.create_trial("replay")


def _build_kerastuner_oracle(records: Records) -> keras_tuner.Oracle:
    config = records.config
    oracle = keras_tuner.oracles.BayesianOptimizationOracle(max_trials=config.sweep.trials, **list_arguments(config))
    set_folder(oracle, records.folder)
    return oracle
