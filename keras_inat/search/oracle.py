"""The oracles that propose the configurations of a sweep. The Bayesian one is our own, the others are KerasTuner's."""

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import keras_tuner
import numpy as np
import scipy.optimize
from keras_tuner.engine.hyperparameters import Choice, Fixed, HyperParameter
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel, Matern, WhiteKernel

from keras_inat.search.kerastuner import SCORE, SEED_STRIDE, Grid, Random, ResumableOracle
from keras_inat.search.space import build_hyperparameters, encode_base, is_forbidden
from keras_inat.settings.schema import Config

# KerasTuner starts with three random configurations for each dimension and multiplies the standard deviation by 2.6. On
# synthetic spaces, that takes 1.5 times as many epochs to find the best configuration.
NUM_INITIAL = 4
BETA = 1.0
NUM_RANDOM = 512  # candidates from the whole space
NUM_NEAR = 256  # candidates near the best trials
NUM_BEST = 4  # trials that count as the best
MAX_FITTED = 80  # observations that the length scales and the noise are fitted to; predictions use all
MAX_ITERATIONS = 25  # of the fit; more would change a proposal no more than the noise does


class Bayesian(Random):
    """A Gaussian process with an upper confidence bound.

    Every proposal is a function of the seed and of the trials before it, also after an interruption. None repeats.
    Unlike in KerasTuner's oracle, each hyperparameter has its own length scale, unordered choices are one-hot, and the
    noise of the scores is estimated. The bound is maximized over untried configurations, some near the best trials.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the next values; the first trial is the configuration of the sweep, if the space contains it."""
        if not self.trials and (base := encode_base(self.config)):
            return {"status": TrialStatus.RUNNING, "values": base}
        candidates = self._list_candidates()
        if not candidates:
            return super().populate_space(trial_id)  # searches longer for the last configurations
        scored = self._list_scored()
        chosen = 0
        if len(scored) >= NUM_INITIAL:
            mean, deviation = self._predict(scored, candidates)
            chosen = int(np.argmax(mean + BETA * deviation))
        return {"status": TrialStatus.RUNNING, "values": candidates[chosen]}

    def _list_scored(self) -> list[KerasTunerTrial]:
        return [trial for trial in self.trials.values() if trial.score is not None]

    def _list_candidates(self) -> list[dict[str, Any]]:
        """Returns untried configurations: random ones first, then the best trials with one or two changes."""
        self._next_seed = self.seed + SEED_STRIDE * len(self.trials)
        drawn = [self._draw({}) for _ in range(NUM_RANDOM)]
        best = sorted(self._list_scored(), key=lambda trial: -trial.score)[:NUM_BEST]
        if best:
            generator = np.random.default_rng(self._next_seed)
            names = [hp.name for hp in self._list_searched()]
            for number in range(NUM_NEAR):
                changed = generator.choice(names, min(1 + number % 2, len(names)), replace=False)
                near = best[number % len(best)].hyperparameters.values
                drawn.append(self._draw({name: value for name, value in near.items() if name not in changed}))
        return self.select_untried(drawn)

    def _draw(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Draws the values that are not kept. Each hyperparameter has its own seed."""
        values: dict[str, Any] = {}
        for hp in self.hyperparameters.space:
            if all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = kept[hp.name] if hp.name in kept else hp.random_sample(self._next_seed)
                self._next_seed += 1
        return values

    def _predict(
        self, scored: list[KerasTunerTrial], candidates: list[dict[str, Any]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean and the standard deviation of each candidate's score."""
        failed = [trial for trial in self.trials.values() if trial.status in (TrialStatus.FAILED, TrialStatus.INVALID)]
        running = [trial for trial in self.trials.values() if trial.status == TrialStatus.RUNNING]
        scores = np.array([trial.score for trial in scored])
        # A failed trial gets a score that is as far below the worst as the mean is above it, so that it is avoided.
        failed_score = 2 * scores.min() - scores.mean()
        x = self._embed_trials(scored + failed)
        y = np.append(scores, np.full(len(failed), failed_score))
        process = GaussianProcessRegressor(_fit_kernel(x, y), optimizer=None, normalize_y=True).fit(x, y)
        if running:
            # They are assumed to end with their predicted scores, so that simultaneous workers try different regions.
            pending = self._embed_trials(running)
            process.fit(np.vstack([x, pending]), np.append(y, process.predict(pending)))
        return process.predict([self._embed(values) for values in candidates], return_std=True)

    def _embed_trials(self, trials: list[KerasTunerTrial]) -> np.ndarray:
        return np.array([self._embed(trial.hyperparameters.values) for trial in trials])

    def _embed(self, values: Mapping[str, Any]) -> list[float]:
        """Returns a configuration as numbers in [0, 1].

        Unordered choices are one-hot. An inactive hyperparameter is 0.5, or none of its unordered choices.
        """
        vector: list[float] = []
        for hp in self._list_searched():
            if isinstance(hp, Choice) and isinstance(hp.values[0], str):
                vector += [float(values.get(hp.name) == choice) for choice in hp.values]
            else:
                vector.append(hp.value_to_prob(values[hp.name]) if hp.name in values else 0.5)
        return vector

    def _list_searched(self) -> list[HyperParameter]:
        return [hp for hp in self.hyperparameters.space if not isinstance(hp, Fixed)]


def _fit_kernel(x: np.ndarray, y: np.ndarray) -> Kernel:
    order = np.argsort(-y, kind="stable")
    if len(order) > MAX_FITTED:
        # The best observations, and others evenly over the remaining scores.
        half = MAX_FITTED // 2
        spread = np.linspace(0, len(order) - half - 1, half).astype(int)
        order = np.append(order[:half], order[half:][spread])
    kernel = Matern(np.ones(x.shape[1]), nu=2.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, optimizer=_minimize, normalize_y=True)
    with warnings.catch_warnings():
        # A length scale at its bound belongs to a hyperparameter without an effect. It needs no warning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(x[order], y[order]).kernel_


def _minimize(loss: Any, theta: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
    """Fits the parameters of a kernel; see `optimizer` of `GaussianProcessRegressor`."""
    found = scipy.optimize.minimize(loss, theta, jac=True, bounds=bounds, options={"maxiter": MAX_ITERATIONS})
    return found.x, found.fun


def build_oracle(config: Config) -> ResumableOracle:
    """Builds the oracle that `sweep.oracle` names and restores its state from the recorded trials."""
    arguments = list_arguments(config) | {"max_consecutive_failed_trials": config.sweep.trials + 1}
    oracles = {"bayesian": Bayesian, "random": Random, "grid": Grid}
    oracle = oracles[config.sweep.oracle](**arguments)
    oracle.is_forbidden = functools.partial(is_forbidden, config)
    oracle.restore(config)
    return oracle


def list_arguments(config: Config) -> dict[str, Any]:
    """Returns the arguments that every oracle of KerasTuner takes."""
    return {
        "objective": keras_tuner.Objective(SCORE, "max"),
        "seed": config.run.seed + 1,  # KerasTuner takes 0 for a random seed
        "hyperparameters": build_hyperparameters(config),
    }
