"""Which configuration to try next: KerasTuner's Bayesian optimization, made safe against kills and repetitions."""

import warnings
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from keras_inat.sweep.records import Records
from keras_inat.sweep.space import encode_base

NUM_CANDIDATES = 512
STATUSES = {"completed": TrialStatus.COMPLETED, "failed": TrialStatus.FAILED}


class RecordedOracle(keras_tuner.oracles.BayesianOptimizationOracle):
    """A Gaussian process with an upper confidence bound, whose memory is our own records.

    KerasTuner overwrites its JSON files in place and cannot read back what a kill left of them. Here they are only
    written: the state is rebuilt from the records, where each trial appears whole. Trials that were running when the
    sweep was stopped run again, with the same values.

    Every proposal is a function of the seed and the trials before it, so that an interrupted sweep goes on as it would
    have gone on, and no configuration is proposed twice.

    Args:
        records: Of the sweep, with its seed and number of trials.
        hyperparameters: The space.
    """

    def __init__(self, records: Records, hyperparameters: keras_tuner.HyperParameters) -> None:
        trials, dimensions = records.config.sweep.trials, len(hyperparameters.space)
        super().__init__(
            objective=keras_tuner.Objective("val_accuracy", "max"),
            max_trials=trials,
            # KerasTuner's own 3 a dimension would make a short sweep a random search.
            num_initial_points=min(3 * dimensions, max(3, trials // 3)),
            seed=records.config.run.seed + 1,  # KerasTuner takes 0 for "draw one"
            hyperparameters=hyperparameters,
            tune_new_entries=False,
            allow_new_entries=False,
            max_consecutive_failed_trials=trials + 1,
        )
        self.verbose = 0
        self._base = encode_base(records.config)
        for row in records.read_trials():
            self._restore(row.id, row.values, row.status, row.score)

    def _restore(self, trial_id: str, values: dict[str, Any], status: str, score: float | None) -> None:
        hyperparameters = self.get_space()
        hyperparameters.values = dict(values)
        trial = Trial(hyperparameters, trial_id, STATUSES.get(status, TrialStatus.RUNNING))
        trial.score = score
        self.trials[trial_id] = trial
        self.start_order.append(trial_id)
        self._record_values(trial)
        if status in STATUSES:
            self.end_order.append(trial_id)
        else:
            # The queue is a stack; the oldest comes back first.
            self._retry_queue.insert(0, trial_id)

    def _make_gpr(self) -> GaussianProcessRegressor:
        # A length scale for each hyperparameter, and the noise of validation accuracy estimated, not assumed.
        dimensions = len(self._nonfixed_space())
        kernel = Matern(np.ones(dimensions), nu=2.5) + WhiteKernel(0.1)
        return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=self.seed)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next configuration, or the word that none is left; see `keras_tuner.Oracle.populate_space`.

        The first is the sweep's own configuration where the space holds it: what is known to work is worth trying.
        Later it is, among many random configurations that were not tried yet, the one with the highest upper
        confidence bound. KerasTuner itself climbs to the bound's continuous maximum and rounds it, which repeats
        configurations.
        """
        if not self.trials and self._base:
            return {"status": TrialStatus.RUNNING, "values": self._base}
        self._seed_state = self.seed + 100_000 * len(self.trials)
        candidates = [values for values in map(self._draw, range(NUM_CANDIDATES)) if not self._duplicate(values)]
        if not candidates:
            return {"status": TrialStatus.STOPPED, "values": None}
        chosen = 0
        if sum(trial.status == TrialStatus.COMPLETED for trial in self.trials.values()) >= self.num_initial_points:
            with warnings.catch_warnings():
                # A length scale at its bound says that a hyperparameter does not matter, which is no cause for alarm.
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.gpr.fit(*self._vectorize_trials())
            mean, deviation = self.gpr.predict(
                np.array([self._embed(values) for values in candidates]), return_std=True
            )
            chosen = int(np.argmin(mean - self.beta * deviation))  # KerasTuner minimises the negative score
        return {"status": TrialStatus.RUNNING, "values": candidates[chosen]}

    def _draw(self, _: int) -> dict[str, Any]:
        values = {}
        for hyperparameter in self.hyperparameters.space:
            values[hyperparameter.name] = hyperparameter.random_sample(self._seed_state)
            self._seed_state += 1
        return values

    def _embed(self, values: dict[str, Any]) -> list[float]:
        return [hp.value_to_prob(values[hp.name]) for hp in self._nonfixed_space()]
