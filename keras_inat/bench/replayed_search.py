"""Searches replayed from recorded trials: what would have been found, and after how many epochs of training."""

import csv
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras_tuner
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from sklearn.exceptions import ConvergenceWarning

from keras_inat.errors import UserError
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.trials import Trial
from keras_inat.sweep.kerastuner import set_folder
from keras_inat.sweep.oracle import build_oracle, list_arguments
from keras_inat.sweep.pruning import RULES, build_curve
from keras_inat.sweep.records import Records
from keras_inat.sweep.runner import end_trial

STOCK = "stock"
# Name -> `sweep.oracle`, or KerasTuner's as it comes, and `sweep.prune`.
METHODS = {
    "KerasTuner's Bayesian": (STOCK, "none"),
    "random": ("random", "none"),
    "ours, without pruning": ("bayesian", "none"),
    "ours": ("bayesian", "halving"),
}

# Accuracies by epoch of every configuration of a space, which is named by its settings as text.
Curves = Mapping[tuple[str, ...], Sequence[float]]


@dataclass
class Search:
    """What a search found.

    Attributes:
        best: Score of the best completed trial after each of its trials.
        epochs: Trained until then, in all.
        repeats: Trials of a configuration that had been tried.
    """

    best: list[float]
    epochs: list[int]
    repeats: int

    def count_epochs(self, score: float) -> int | None:
        """Epochs until a trial of at least this score; None where there was none."""
        return next((spent for best, spent in zip(self.best, self.epochs, strict=True) if best >= score), None)

    def find_best(self, epochs: int) -> float:
        """The best score within so many epochs."""
        return max((best for best, spent in zip(self.best, self.epochs, strict=True) if spent <= epochs), default=0.0)


def read_recorded(path: Path, config: Config) -> Curves:
    """Reads a `trials.csv` in which every configuration of `sweep.space` was trained to its end."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    space = config.sweep.space
    if not all(isinstance(choices, list) for choices in space.values()) or not set(space) <= set(rows[0]):
        raise UserError(f"{path} can be searched by lists of choices of its own columns only")
    curves = {
        tuple(row[name] for name in space): [float(text) for text in row["val_accuracies"].split()] for row in rows
    }
    wanted = set(itertools.product(*(map(str, choices) for choices in space.values())))  # type: ignore[arg-type]
    if not wanted <= set(curves) or {len(curve) for curve in curves.values()} != {config.sweep.epochs}:
        raise UserError(f"{path} has not all configurations of this `sweep.space` after `sweep.epochs` epochs")
    return curves


def replay(config: Config, curves: Curves, method: str, folder: Path, budget: int) -> Search:
    """Searches with recorded accuracies in place of trainings.

    Args:
        config: Of the sweep that was recorded; `run.seed` is the search's.
        curves: Of every configuration of its space.
        method: A name in `METHODS`.
        folder: Where the search keeps its records; an empty one.
        budget: Epochs; no trial begins after them.
    """
    oracle_name, prune = METHODS[method]
    settings = {"run.directory": str(folder), "sweep.prune": prune}
    config = override(config, settings | ({} if oracle_name == STOCK else {"sweep.oracle": oracle_name}))
    records = Records(config, "")
    oracle = _build_stock(records) if oracle_name == STOCK else build_oracle(config)
    search, tried, spent = Search([], [], 0), set[tuple[str, ...]](), 0
    while spent < budget and (trial := _propose(oracle)).status == TrialStatus.RUNNING:
        record = records.begin(trial.trial_id, trial.hyperparameters.values)
        name = tuple(str(record.settings[setting]) for setting in config.sweep.space)
        search.repeats += name in tried
        tried.add(name)
        record = end_trial(records, oracle, look_up(records, record, curves[name]))
        spent += record.epochs or 0
        completed = record.score if record.status == "completed" and record.score else 0.0
        search.best.append(max([completed, *search.best[-1:]]))
        search.epochs.append(spent)
    return search


def look_up(records: Records, trial: Trial, accuracies: Sequence[float]) -> Trial:
    """Returns the record of a trial with these validation accuracies, pruned as a trial that is trained."""
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
        warnings.simplefilter("ignore", ConvergenceWarning)  # KerasTuner's fits often end at a bound
        return oracle.create_trial("replay")


def _build_stock(records: Records) -> keras_tuner.Oracle:
    config = records.config
    oracle = keras_tuner.oracles.BayesianOptimizationOracle(max_trials=config.sweep.trials, **list_arguments(config))
    set_folder(oracle, records.folder)
    return oracle
