"""Searches over recorded trials, with their accuracies in place of trainings."""

import csv
import functools
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from sklearn.exceptions import ConvergenceWarning

from keras_inat.errors import UserError
from keras_inat.search.kerastuner import set_folder
from keras_inat.search.oracle import build_oracle, list_arguments
from keras_inat.search.records import Records
from keras_inat.search.runner import end_trial, is_to_be_pruned
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial, build_curve

# The validation accuracies by epoch of every configuration of a space. Its settings, as text, are the key.
Curves = Mapping[tuple[str, ...], Sequence[float]]


@dataclass
class Search:
    """The course of a search."""

    best: list[float] = field(default_factory=list)  # the best score of a completed trial, after each training
    epochs: list[int] = field(default_factory=list)  # the total number of trained epochs, after each training
    tried: set[tuple[str, ...]] = field(default_factory=set)
    repeats: int = 0  # trials that repeat an earlier configuration

    @property
    def spent(self) -> int:
        """The number of epochs so far."""
        return self.epochs[-1] if self.epochs else 0

    def add(self, configuration: tuple[str, ...], epochs: int, score: float, resumed: bool = False) -> None:
        """Adds the training of a trial, or the rest of it. The score of one that was stopped early is 0."""
        self.repeats += configuration in self.tried and not resumed
        self.tried.add(configuration)
        self.best.append(max([score, *self.best[-1:]]))
        self.epochs.append(self.spent + epochs)

    def count_epochs(self, score: float) -> int | None:
        """Returns the number of epochs until a trial reaches `score`, or None if no trial does."""
        return next((spent for best, spent in zip(self.best, self.epochs, strict=True) if best >= score), None)

    def find_best(self, epochs: int) -> float:
        """Returns the best score within `epochs` epochs, 0.0 if no trial ends within them."""
        return max((best for best, spent in zip(self.best, self.epochs, strict=True) if spent <= epochs), default=0.0)


def read_recorded(path: Path, config: Config) -> Curves:
    """Reads a table that holds every configuration of `sweep.space`, trained for `sweep.epochs` epochs.

    Its columns are those of a `trials.csv`: the settings and `val_accuracies`. Other columns are not read.

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
            "choices and the epochs of the recipe"
        )
    return curves


def replay_sweep(oracle: str | None, prune: str, config: Config, curves: Curves, folder: Path, budget: int) -> Search:
    """Replays a search of `make sweep`.

    Args:
        oracle: A value of `sweep.oracle`, or None for the Bayesian oracle of KerasTuner.
        prune: A value of `sweep.prune`.
        config: The configuration of the recorded sweep. `run.seed` is the seed of the search.
        curves: The accuracies of every configuration of the space.
        folder: An empty folder for the records of the search.
        budget: The search ends after this number of epochs.
    """
    config = override(
        config, {"run.directory": str(folder), "sweep.oracle": oracle or "bayesian", "sweep.prune": prune}
    )
    records = Records(config, "")
    proposer = build_oracle(records) if oracle else _build_kerastuner_oracle(records)
    search = Search()
    while search.spent < budget and (trial := _propose(proposer)).status == TrialStatus.RUNNING:
        record = records.begin(trial.trial_id, trial.hyperparameters.values)
        configuration = tuple(str(record.settings[setting]) for setting in config.sweep.space)
        ended = replay_trial(records, proposer, record, curves[configuration])
        end_trial(records, proposer, ended)
        score = ended.score if ended.status == "completed" and ended.score else 0.0
        search.add(configuration, len(ended.curve) - len(record.curve), score, resumed=bool(record.curve))
    return search


def replay_optuna(pruner: str, config: Config, curves: Curves, folder: Path, budget: int) -> Search:
    """Replays a search by Optuna's multivariate tree-structured Parzen estimator; see `replay_sweep`.

    Numbers are searched by their positions in the list of choices, and other choices are categories. A trial reports
    its best score after every epoch. A configuration that was tried before costs its epochs again.

    Args:
        pruner: A key of `OPTUNA_PRUNERS`.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(n_startup_trials=4, multivariate=True, seed=config.run.seed)
    name, arguments = OPTUNA_PRUNERS[pruner]
    study = optuna.create_study(
        direction="maximize", sampler=sampler, pruner=getattr(optuna.pruners, name)(**arguments)
    )
    search = Search()
    while search.spent < budget:
        trial = study.ask()
        configuration = tuple(_suggest(trial, *item) for item in config.sweep.space.items())
        curve = build_curve(curves[configuration])
        for epoch, score in enumerate(curve, 1):
            trial.report(score, epoch)
            if epoch < len(curve) and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                search.add(configuration, epoch, 0.0)
                break
        else:
            study.tell(trial, curve[-1])
            search.add(configuration, len(curve), curve[-1])
    return search


# The pruners of Optuna, with the settings that its searches have here.
OPTUNA_PRUNERS: dict[str, tuple[str, dict[str, int]]] = {
    "halving": ("SuccessiveHalvingPruner", {"min_resource": 2, "reduction_factor": 3}),
    "halving from 1": ("SuccessiveHalvingPruner", {"min_resource": 1, "reduction_factor": 3}),
    "median": ("MedianPruner", {"n_startup_trials": 4}),
}

# The search methods: functions of the configuration, the recorded accuracies, an empty folder and a number of epochs.
METHODS: dict[str, Callable[[Config, Curves, Path, int], Search]] = {
    "KerasTuner's Bayesian": functools.partial(replay_sweep, None, "none"),
    "Optuna's TPE, median": functools.partial(replay_optuna, "median"),
    "Optuna's TPE, halving": functools.partial(replay_optuna, "halving"),
    "the same from epoch 1": functools.partial(replay_optuna, "halving from 1"),
    "random": functools.partial(replay_sweep, "random", "none"),
    "ours, without pruning": functools.partial(replay_sweep, "bayesian", "none"),
    "ours, with halving": functools.partial(replay_sweep, "bayesian", "halving"),
    "ours": functools.partial(replay_sweep, "bayesian", "freeze-thaw"),
}


def _suggest(trial: Any, name: str, choices: Any) -> str:
    """Returns the value of a setting that a trial of Optuna suggests, as text."""
    if all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices):
        return str(choices[trial.suggest_int(name, 0, len(choices) - 1)])
    return str(trial.suggest_categorical(name, list(map(str, choices))))


def replay_trial(records: Records, oracle: Any, trial: Trial, accuracies: Sequence[float]) -> Trial:
    """Trains a trial in appearance: it gets these validation accuracies, and may be pruned. Returns its record."""
    pruned = False
    for epochs in range(len(trial.curve) + 1, len(accuracies) + 1):
        seen = tuple(accuracies[:epochs])
        records.write_trial(trial.model_copy(update={"val_accuracies": seen}))
        pruned = is_to_be_pruned(records, oracle, trial.id)
        if pruned:
            break
    status = "pruned" if pruned else "completed"
    ended = {"status": status, "score": max(seen), "epochs": epochs, "val_accuracies": seen}
    return trial.model_copy(update=ended)


def _propose(oracle: keras_tuner.Oracle) -> KerasTunerTrial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the Gaussian processes of KerasTuner often end at a bound
        return oracle.create_trial("replay")


def _build_kerastuner_oracle(records: Records) -> keras_tuner.Oracle:
    config = records.config
    oracle = keras_tuner.oracles.BayesianOptimizationOracle(max_trials=config.sweep.trials, **list_arguments(config))
    set_folder(oracle, records.folder)
    return oracle
