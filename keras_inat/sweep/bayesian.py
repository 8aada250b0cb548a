"""Bayesian optimization with a Gaussian process and an upper confidence bound."""

from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Choice, Fixed, HyperParameter
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus

from keras_inat.settings.schema import Config
from keras_inat.sweep.kerastuner import SEED_STRIDE, ResumableOracle
from keras_inat.sweep.space import encode_base
from keras_inat.sweep.surrogate import predict

NUM_RANDOM = 512  # candidates from the whole space
NUM_NEAR = 256  # candidates near the best trials
NUM_BEST = 4  # trials that count as the best


class Bayesian(ResumableOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """A Gaussian process with an upper confidence bound.

    Every proposal is a function of the seed and of the trials before it. An interrupted sweep therefore resumes with
    the same proposals. No configuration is proposed twice.

    KerasTuner's oracle has one length scale for all hyperparameters, takes choices to be ordered and scores to be free
    of noise. It rounds the continuous maximum of the bound, which repeats configurations. Here each hyperparameter has
    its own length scale, unordered choices are one-hot, and the noise is estimated. The bound is maximized over untried
    configurations, some of them near the best trials.
    """

    def restore(self, config: Config, is_forbidden: Callable[[Mapping[str, Any]], bool]) -> None:
        """Restores the state; see `ResumableOracle.restore`."""
        super().restore(config, is_forbidden)
        self._base = encode_base(config)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the next values; see `keras_tuner.Oracle.populate_space`.

        The first trial is the configuration of the sweep itself, if the space contains it.
        """
        if not self.trials and self._base:
            return {"status": TrialStatus.RUNNING, "values": self._base}
        candidates = self._list_candidates()
        if not candidates:
            values = self.draw_untried()  # searches longer for the last configurations
            return {"status": TrialStatus.RUNNING if values else TrialStatus.STOPPED, "values": values}
        chosen = 0
        scored = self._list_scored()
        if len(scored) >= self.num_initial_points:
            mean, deviation = self._predict(scored, candidates)
            chosen = int(np.argmax(mean + self.beta * deviation))
        return {"status": TrialStatus.RUNNING, "values": candidates[chosen]}

    def _list_scored(self) -> list[KerasTunerTrial]:
        return [trial for trial in self.trials.values() if trial.score is not None]

    def _list_candidates(self) -> list[dict[str, Any]]:
        """Returns untried configurations: random ones first, then the best trials with one or two changes."""
        seed = self.seed + SEED_STRIDE * len(self.trials)
        drawn = []
        for _ in range(NUM_RANDOM):
            values, seed = self._draw(seed, {})
            drawn.append(values)
        best = sorted(self._list_scored(), key=lambda trial: -trial.score)[:NUM_BEST]
        if best:
            generator = np.random.default_rng(seed)
            names = [hp.name for hp in self._searched_space()]
            for number in range(NUM_NEAR):
                changed = generator.choice(names, min(1 + number % 2, len(names)), replace=False)
                near = best[number % len(best)].hyperparameters.values
                kept = {name: value for name, value in near.items() if name not in changed}
                values, seed = self._draw(seed, kept)
                drawn.append(values)
        unique = {self.hash_values(values): values for values in drawn}
        return [values for values in unique.values() if not self.was_tried(values)]

    def _draw(self, seed: int, kept: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Draws the values that are not kept. Returns the values and the next unused seed."""
        values: dict[str, Any] = {}
        for hp in self.hyperparameters.space:
            if all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = kept[hp.name] if hp.name in kept else hp.random_sample(seed)
                seed += 1
        return values, seed

    def _predict(
        self, scored: list[KerasTunerTrial], candidates: list[dict[str, Any]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicts the candidates' accuracy; see `surrogate.predict`."""
        failed = [trial for trial in self.trials.values() if trial.status in (TrialStatus.FAILED, TrialStatus.INVALID)]
        running = [trial for trial in self.trials.values() if trial.status == TrialStatus.RUNNING]
        scores = np.array([trial.score for trial in scored])
        # A failed trial gets a score that is as far below the worst as the mean is above it, so that it is avoided.
        failed_score = 2 * scores.min() - scores.mean()
        return predict(
            x=self._embed_trials(scored + failed),
            y=np.append(scores, np.full(len(failed), failed_score)),
            pending=self._embed_trials(running),
            candidates=np.array([self._embed(values) for values in candidates]),
        )

    def _embed_trials(self, trials: list[KerasTunerTrial]) -> np.ndarray:
        return np.array([self._embed(trial.hyperparameters.values) for trial in trials])

    def _embed(self, values: Mapping[str, Any]) -> list[float]:
        """Returns a configuration as numbers in [0, 1].

        Unordered choices are one-hot. An inactive hyperparameter is 0.5, or none of its unordered choices.
        """
        vector: list[float] = []
        for hp in self._searched_space():
            if isinstance(hp, Choice) and isinstance(hp.values[0], str):
                vector += [float(values.get(hp.name) == choice) for choice in hp.values]
            elif hp.name in values:
                vector.append(hp.value_to_prob(values[hp.name]))
            else:
                vector.append(0.5)
        return vector

    def _searched_space(self) -> list[HyperParameter]:
        return [hp for hp in self.hyperparameters.space if not isinstance(hp, Fixed)]
