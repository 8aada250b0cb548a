"""Which configuration to try next: KerasTuner's oracles, made safe against kills and repetitions."""

import math
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src.engine.oracle import synchronized

from keras_inat.errors import UserError
from keras_inat.files import write_json
from keras_inat.settings.schema import Config
from keras_inat.store.trials import Trial
from keras_inat.sweep.records import Records
from keras_inat.sweep.space import encode_base, is_forbidden
from keras_inat.sweep.surrogate import predict

STATUSES = {
    "completed": TrialStatus.COMPLETED,
    "pruned": TrialStatus.COMPLETED,
    "failed": TrialStatus.FAILED,
}
# Random configurations before the Gaussian process is asked, and how many standard deviations its doubt is worth.
# With KerasTuner's three a dimension and 2.6 it takes half as many epochs again to the best of made-up spaces.
NUM_INITIAL, BETA = 4, 1.0
# Of the candidates that the Gaussian process chooses from: drawn from the whole space, and near the best so far.
NUM_RANDOM, NUM_NEAR, NUM_BEST = 512, 256, 4
HALVING_FACTOR = 3
# Between the random numbers of one proposal and those of the next, and how often what was drawn may have been tried.
STRIDE, MAX_COLLISIONS = 100_000, 2000


def build_oracle(records: Records, hyperparameters: keras_tuner.HyperParameters) -> "Recorded":
    """The oracle that `sweep.oracle` names, knowing what is on record."""
    config = records.config
    settings = describe_search(config, hyperparameters) | {
        "tune_new_entries": False,
        "allow_new_entries": False,
        "max_consecutive_failed_trials": config.sweep.trials + 1,
    }
    if config.sweep.oracle == "hyperband":
        settings |= {"max_epochs": config.sweep.epochs, "factor": HALVING_FACTOR, "hyperband_iterations": None}
    if config.sweep.oracle == "bayesian":
        settings |= {"num_initial_points": NUM_INITIAL, "beta": BETA}
    oracle = ORACLES[config.sweep.oracle](**settings)
    oracle.recall(records)
    return oracle


def describe_search(config: Config, hyperparameters: keras_tuner.HyperParameters) -> dict[str, Any]:
    """What any of KerasTuner's oracles is told of a sweep."""
    return {
        "objective": keras_tuner.Objective("val_accuracy", "max"),
        "seed": config.run.seed + 1,  # KerasTuner takes 0 for "draw one"
        "hyperparameters": hyperparameters,
    }


class Recorded(keras_tuner.Oracle):
    """An oracle whose memory is the sweep's records.

    KerasTuner overwrites its JSON files in place and cannot read back what a kill left of them. Here they are only
    written, whole, for other tools: the state is rebuilt from the records, where each trial appears whole. Trials that
    were running when the sweep was stopped run again, with the same values.
    """

    config: Config
    _retry_queue: list[str]

    def recall(self, records: Records) -> None:
        """Takes over what is on record."""
        self.config, self.verbose, self.max_trials = records.config, 0, records.config.sweep.trials
        self._set_project_dir(records.folder.path, "tuner")
        for number, row in enumerate(records.read_trials()):
            if int(row.id) != number:  # KerasTuner counts trials to number the next
                raise UserError(
                    f"trial {number} is missing from {records.folder.trials}: put it back, or delete the folder "
                    "to start anew"
                )
            self._restore(row)

    def _restore(self, row: Trial) -> None:
        hyperparameters = self.get_space()
        hyperparameters.values = dict(row.values)
        trial = KerasTunerTrial(hyperparameters, row.id, STATUSES.get(row.status, TrialStatus.RUNNING))
        trial.score = row.final_score
        self.trials[row.id] = trial
        self.start_order.append(row.id)
        self._record_values(trial)
        if row.status in STATUSES:
            self.end_order.append(row.id)
        else:
            # The queue is a stack; the oldest comes back first.
            self._retry_queue.insert(0, row.id)

    @synchronized
    def list_ongoing(self) -> list[str]:
        """The trials that are being trained."""
        return [trial.trial_id for trial in self.ongoing_trials.values()]

    @synchronized
    def resume_running(self) -> None:
        """Takes the trials on record as running for ongoing: a chief that starts again finds its workers at work."""
        self.ongoing_trials = {f"before-{trial_id}": self.trials[trial_id] for trial_id in self._retry_queue}
        self._retry_queue = []

    @synchronized
    def give_back(self, trial_id: str) -> None:
        """Has a trial proposed again, if it is still ongoing."""
        if trial_id not in self.list_ongoing():
            return
        self.ongoing_trials = {name: trial for name, trial in self.ongoing_trials.items() if trial.trial_id != trial_id}
        self._retry_queue.insert(0, trial_id)

    @synchronized
    def end_trial(self, trial: KerasTunerTrial) -> None:
        super().end_trial(trial)
        # One that was given back may end after all.
        self._retry_queue = [waiting for waiting in self._retry_queue if waiting != trial.trial_id]

    def save(self) -> None:
        write_json(self._file("oracle.json"), self.get_state())

    def _save_trial(self, trial: KerasTunerTrial) -> None:
        write_json(self._file(f"trial_{trial.trial_id}/trial.json"), trial.get_state())

    def _file(self, name: str) -> Any:
        return self._directory / self._project_name / name

    def _random_values(self) -> dict[str, Any] | None:
        # A function of the seed and the trials before it, as if the sweep had not been interrupted.
        self._seed_state, self._max_collisions = self.seed + STRIDE * len(self.trials), MAX_COLLISIONS
        return super()._random_values()

    def _duplicate(self, values: dict[str, Any]) -> bool:
        return super()._duplicate(values) or is_forbidden(self.config, values)


class Random(Recorded, keras_tuner.oracles.RandomSearchOracle):
    """Any configuration is as good as any other."""


class Grid(Recorded, keras_tuner.oracles.GridSearchOracle):
    """Every configuration in turn, in the order of the choices; of a range every integer, or ten other numbers."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next one that was not tried; KerasTuner's own way to it remembers more than the trials."""
        space = self.get_space()
        values = {hp.name: hp.default for hp in space.space if space.is_active(hp)}
        while values is not None and self._duplicate(values):
            values = self._get_next_combination(values)
        return {"status": TrialStatus.RUNNING if values else TrialStatus.STOPPED, "values": values}


class Hyperband(Recorded, keras_tuner.oracles.HyperbandOracle):
    """Many short trials, the best of which go on as longer ones (Li et al. 2018, arXiv 1603.06560)."""

    def recall(self, records: Records) -> None:
        """Refuses a space that cannot fill the first round, of which no trial would ever go on."""
        space = self.hyperparameters.space
        size = math.prod(len(hp.values) if isinstance(hp, Boolean | Choice | Fixed) else math.inf for hp in space)
        self._check_size(size)
        super().recall(records)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        answer = super().populate_space(trial_id)
        went_on = any("tuner/trial_id" in trial.hyperparameters.values for trial in self.trials.values())
        if answer["status"] == TrialStatus.STOPPED and not went_on:
            self._check_size(len(self.trials))  # conditions and what is forbidden left fewer than it seemed
        return answer

    def _check_size(self, size: float) -> None:
        needed = self._get_size(self._get_num_brackets() - 1, 0)
        if size < needed:
            raise UserError(
                f"`sweep.oracle`=hyperband begins with {needed} configurations, and `sweep.space` has {size}: "
                "give it more choices or fewer `sweep.epochs`, or take another oracle"
            )

    def _restore(self, row: Trial) -> None:
        super()._restore(row)
        past = row.values.get("tuner/trial_id")
        entry = {"past_id": past, "id": row.id}
        if past is None:
            bracket = self._brackets[-1]
            if len(bracket["rounds"][0]) >= self._get_size(bracket["bracket_num"], 0):
                self._increment_bracket_num()
                self._start_new_bracket()
            self._brackets[-1]["rounds"][0].append(entry)
            return
        for bracket in self._brackets:
            for before, after in zip(bracket["rounds"], bracket["rounds"][1:], strict=False):
                if any(known["id"] == past for known in before):
                    after.append(entry)


class Bayesian(Recorded, keras_tuner.oracles.BayesianOptimizationOracle):
    """A Gaussian process with an upper confidence bound.

    Every proposal is a function of the seed and the trials before it, so that an interrupted sweep goes on as it would
    have gone on, and no configuration is proposed twice.

    KerasTuner's has one length scale for all hyperparameters, takes choices to be ordered and scores to be free of
    noise; it climbs to the bound's continuous maximum and rounds it, which repeats configurations. Here each
    hyperparameter has its own, unordered choices are one-hot, the noise is estimated, and the bound is maximised over
    configurations that were not tried, some of them near the best.
    """

    def recall(self, records: Records) -> None:
        super().recall(records)
        self._base = encode_base(self.config)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next configuration, or the word that none is left; see `keras_tuner.Oracle.populate_space`.

        The first is the sweep's own configuration where the space holds it: what is known to work is worth trying.
        """
        if not self.trials and self._base:
            return {"status": TrialStatus.RUNNING, "values": self._base}
        self._seed_state = self.seed + STRIDE * len(self.trials)
        if not (candidates := self._list_candidates()):
            return self._random_populate_space()  # which looks longer for what is left
        chosen = 0
        known = [trial for trial in self.trials.values() if trial.score is not None]
        if len(known) >= self.num_initial_points:
            mean, deviation = self._predict(known, candidates)
            chosen = int(np.argmax(mean + self.beta * deviation))
        return {"status": TrialStatus.RUNNING, "values": candidates[chosen]}

    def _list_candidates(self) -> list[dict[str, Any]]:
        """Configurations that were not tried: random ones first, then the best so far with one or two changes."""
        scored = [trial for trial in self.trials.values() if trial.score is not None]
        best = sorted(scored, key=lambda trial: -trial.score)[:NUM_BEST]
        drawn = [self._draw() for _ in range(NUM_RANDOM)]
        if best:
            generator = np.random.default_rng(self._seed_state)
            names = [hp.name for hp in self._nonfixed_space()]
            for number in range(NUM_NEAR):
                changed = generator.choice(names, min(1 + number % 2, len(names)), replace=False)
                kept = best[number % len(best)].hyperparameters.values
                drawn.append(self._draw({name: value for name, value in kept.items() if name not in changed}))
        unique = {self._compute_values_hash(values): values for values in drawn}
        return [values for values in unique.values() if not self._duplicate(values)]

    def _draw(self, kept: dict[str, Any] | None = None) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for hyperparameter in self.hyperparameters.space:
            name = hyperparameter.name
            if all(condition.is_active(values) for condition in hyperparameter.conditions):
                drawn = hyperparameter.random_sample(self._seed_state)
                values[name] = kept.get(name, drawn) if kept else drawn
                self._seed_state += 1
        return values

    def _predict(self, known: list[KerasTunerTrial], candidates: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the candidates' accuracy."""
        failed = [trial for trial in self.trials.values() if trial.status in (TrialStatus.FAILED, TrialStatus.INVALID)]
        running = [trial for trial in self.trials.values() if trial.status == TrialStatus.RUNNING]
        scores = np.array([trial.score for trial in known])
        # What cannot be trained is to be avoided: it counts as being as far below the worst as the mean is above it.
        x = self._embed_all([trial.hyperparameters.values for trial in known + failed])
        y = np.append(scores, np.full(len(failed), 2 * scores.min() - scores.mean()))
        pending = self._embed_all([trial.hyperparameters.values for trial in running])
        return predict(x, y, pending, self._embed_all(candidates))

    def _embed_all(self, configurations: list[dict[str, Any]]) -> np.ndarray:
        return np.array([self._embed(values) for values in configurations])

    def _embed(self, values: dict[str, Any]) -> list[float]:
        """Numbers in [0, 1], unordered choices one-hot; what is not active in the middle, or no choice at all."""
        vector = list[float]()
        for hp in self._nonfixed_space():
            unordered = isinstance(hp, Choice) and isinstance(hp.values[0], str)
            if unordered:
                vector += [float(values.get(hp.name) == choice) for choice in hp.values]
            else:
                vector.append(hp.value_to_prob(values[hp.name]) if hp.name in values else 0.5)
        return vector


ORACLES: dict[str, type[Recorded]] = {
    "bayesian": Bayesian,
    "random": Random,
    "grid": Grid,
    "hyperband": Hyperband,
}
