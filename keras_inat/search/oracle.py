"""The oracles that propose the configurations of a sweep. The Bayesian one is our own, the others are KerasTuner's."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, HyperParameter
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from scipy.stats import norm

from keras_inat.search.extrapolation import Extrapolation, fit_extrapolation
from keras_inat.search.gaussian_process import fit_process
from keras_inat.search.kerastuner import SCORE, SEED_STRIDE, Grid, Random, ResumableOracle
from keras_inat.search.records import Records
from keras_inat.search.space import build_hyperparameters, encode_base, is_forbidden
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial, find_best

# These were chosen on tables of small networks that are not among the recorded ones; see docs/sweep.md.
NUM_INITIAL = 4  # configurations before the Gaussian process proposes any
FACTOR = 2.0  # a running trial is pruned if another one promises more than this many times its expected improvement
MIN_PROBABILITY = 0.05  # of becoming the best trial, for those that resume after the last configuration has begun
MIN_DEVIATION = 1e-6  # of a predicted score
NUM_RANDOM = 512  # candidates from the whole space
NUM_NEAR = 256  # candidates near the best trials
NUM_BEST = 4  # trials that count as the best

Values = Mapping[str, Any]  # hyperparameters as KerasTuner encodes them


class Bayesian(Random):
    """A Gaussian process that maximizes the expected improvement for each epoch that it takes.

    The improvement is that of the final score over the best completed trial (Mockus 1978; Jones et al. 1998). The final
    score of a trial that is not complete is extrapolated, with an error of its own. Every proposal is a function of the
    seed and of the recorded trials, also after an interruption. None repeats. Unlike in KerasTuner's oracle, each
    hyperparameter has its own length scale, unordered choices are one-hot, and the noise of the scores is estimated.
    The candidates are untried configurations, some near the best trials.

    With `sweep.prune=freeze-thaw`, pruned trials are candidates, too (Swersky et al. 2014, arXiv 1406.3896). They take
    fewer epochs.
    """

    records: Records

    def create_trial(self, tuner_id: str) -> KerasTunerTrial:
        """Resumes a pruned trial if it promises more than every untried configuration."""
        if self.config.sweep.rule == "freeze-thaw" and not self._retry_queue:
            pruned = [trial for trial in self.records.read_trials() if trial.status == "pruned"]
            if pruned and isinstance(chosen := self._choose(pruned), Trial):
                self._retry_queue.append(chosen.id)
        return super().create_trial(tuner_id)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the next values; the first trial is the configuration of the sweep, if the space contains it."""
        if not self.trials and (base := encode_base(self.config)):
            return {"status": TrialStatus.RUNNING, "values": base}
        values = self._choose([])
        if values is None:
            return super().populate_space(trial_id)  # searches longer for the last configurations
        return {"status": TrialStatus.RUNNING, "values": values}

    def prefers_another(self, trial_id: str) -> bool:
        """Returns True if a running trial is to be pruned, because another one promises more, or a new one does.

        Trials are compared after 1, 2, 4, 8, ... epochs. The first trial is not pruned, so that there is a complete
        curve. The next ones are pruned after one epoch, until the Gaussian process has its first configurations.
        """
        trials = self.records.read_trials()
        own = next(trial for trial in trials if trial.id == trial_id)
        epochs = len(self.records.read_curves()[trial_id])
        is_rung = epochs.bit_count() == 1  # a power of two
        has_just_resumed = own.epochs == epochs
        if int(trial_id) == 0 or not is_rung or epochs >= self.config.sweep.epochs or has_just_resumed:
            return False
        return self._choose([own, *(trial for trial in trials if trial.status == "pruned")]) is not own

    def _choose(self, resumable: Sequence[Trial]) -> Trial | Values | None:
        """Returns the trial or the untried values that promise most; None if nothing is worth any epochs.

        A running trial is the first of `resumable`. Another one must promise `FACTOR` times as much to be preferred.
        If no configuration may begin any more, a trial is worth its epochs only if it becomes the best one with a
        probability of at least `MIN_PROBABILITY`.
        """
        scores = self._estimate_scores()
        untried: Sequence[Values] = self._list_candidates(scores) if len(self.trials) < self.max_trials else []
        if untried and len(self.trials) < NUM_INITIAL:
            return untried[0]
        candidates: list[Trial | Values] = [*resumable, *untried]
        if not candidates:
            return None
        means, deviations = self._predict(scores, candidates)
        best = find_best(self.records.read_trials())
        best_score = best.score if best and best.score else 0.0
        standardized = (means - best_score) / deviations
        worthless = np.full(len(candidates), not untried) & (standardized < norm.ppf(MIN_PROBABILITY))
        if worthless.all():
            return None
        curves = self.records.read_curves()
        done = [len(curves[candidate.id]) if isinstance(candidate, Trial) else 0 for candidate in candidates]
        remaining = np.maximum(self.config.sweep.epochs - np.array(done), 1)
        # As logarithms, because the largest improvement may be too small for a number.
        improvement = np.log(deviations) + _log_expected_excess(standardized) - np.log(remaining)
        if resumable and resumable[0].status == "running":
            improvement[0] += np.log(FACTOR)
        return candidates[int(np.argmax(np.where(worthless, -np.inf, improvement)))]

    def _estimate_scores(self) -> dict[str, tuple[float, float]]:
        """Returns the final score of every trial with a score, and the variance of its error, by number."""
        curves = self.records.read_curves()
        trials = [trial for trial in self.records.read_trials() if trial.status != "failed"]
        completed = [curves[trial.id] for trial in trials if trial.status == "completed"]
        fits: dict[int, Extrapolation] = {}
        scores = {}
        for trial in trials:
            curve = curves[trial.id]
            if trial.status == "completed":
                scores[trial.id] = trial.score or 0.0, 0.0
            elif curve:
                epoch = len(curve)
                if epoch not in fits:
                    fits[epoch] = fit_extrapolation(epoch, completed, list(curves.values()))
                scores[trial.id] = fits[epoch].predict(curve[-1]), fits[epoch].variance
        return scores

    def _list_candidates(self, scores: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
        """Returns untried configurations: random ones first, then the best trials with one or two changes."""
        self._next_seed = self.seed + SEED_STRIDE * len(self.trials)
        drawn = [self._draw({}) for _ in range(NUM_RANDOM)]
        best = sorted(scores, key=lambda trial_id: -scores[trial_id][0])[:NUM_BEST]
        if best:
            generator = np.random.default_rng(self._next_seed)
            names = [hp.name for hp in self._list_searched()]
            for number in range(NUM_NEAR):
                changed = generator.choice(names, min(1 + number % 2, len(names)), replace=False)
                near = self.trials[best[number % len(best)]].hyperparameters.values
                drawn.append(self._draw({name: value for name, value in near.items() if name not in changed}))
        return self.select_untried(drawn)

    def _draw(self, kept: Values) -> dict[str, Any]:
        """Draws the values that are not kept. Each hyperparameter has its own seed."""
        values: dict[str, Any] = {}
        for hp in self.hyperparameters.space:
            if all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = kept[hp.name] if hp.name in kept else hp.random_sample(self._next_seed)
                self._next_seed += 1
        return values

    def _predict(
        self, scores: Mapping[str, tuple[float, float]], candidates: Sequence[Trial | Values]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of each candidate's final score, both `(candidates,)` float64."""
        if not scores:
            return np.zeros(len(candidates)), np.ones(len(candidates))
        trials = self.records.read_trials()
        failed = [trial for trial in trials if trial.status == "failed"]
        asking = {candidate.id for candidate in candidates if isinstance(candidate, Trial)}
        pending = [trial for trial in trials if trial.status == "running" and trial.id not in asking]
        y, variances = np.array(list(scores.values())).T
        # A failed trial gets a score that is as far below the worst as the mean is above it, so that it is avoided.
        failed_score = 2 * y.min() - y.mean()
        process = fit_process(
            self._embed([*(trial for trial in trials if trial.id in scores), *failed]),
            np.append(y, np.full(len(failed), failed_score)),
            np.append(variances, np.zeros(len(failed))),
            self._embed(pending),
        )
        means, deviations = process.predict(self._embed(candidates), return_std=True)
        return means, np.maximum(deviations, MIN_DEVIATION)

    def _embed(self, candidates: Sequence[Trial | Values]) -> np.ndarray:
        """Returns configurations as numbers in [0, 1], `(candidates, inputs)` float64.

        Unordered choices are one-hot. An inactive hyperparameter is 0.5, or none of its unordered choices.
        """
        rows = []
        for candidate in candidates:
            values = candidate.values if isinstance(candidate, Trial) else candidate
            row: list[float] = []
            for hp in self._list_searched():
                if isinstance(hp, Choice) and isinstance(hp.values[0], str):
                    row += [float(values.get(hp.name) == choice) for choice in hp.values]
                elif hp.name not in values:
                    row.append(0.5)
                elif isinstance(hp, Choice | Boolean):
                    row.append(hp.values.index(values[hp.name]) / max(1, len(hp.values) - 1))
                else:
                    row.append(hp.value_to_prob(values[hp.name]))
            rows.append(row)
        return np.array(rows)

    def _list_searched(self) -> list[HyperParameter]:
        return [hp for hp in self.hyperparameters.space if not isinstance(hp, Fixed)]


def _log_expected_excess(z: np.ndarray) -> np.ndarray:
    """Returns the logarithm of E[max(0, X + z)] for a standard normal X.

    Far below zero, it uses the expansion of the normal distribution's tail (Ament et al. 2023, arXiv 2310.20708).
    """
    excess = norm.pdf(z) + z * norm.cdf(z)
    tail = norm.logpdf(z) - 2 * np.log(np.maximum(np.abs(z), 1.0))
    return np.where(z > -20, np.log(np.maximum(excess, 1e-300)), tail)


def build_oracle(records: Records) -> ResumableOracle:
    """Builds the oracle that `sweep.oracle` names and restores its state from the recorded trials."""
    config = records.config
    arguments = list_arguments(config) | {"max_consecutive_failed_trials": config.sweep.trials + 1}
    oracles = {"bayesian": Bayesian, "random": Random, "grid": Grid}
    oracle = oracles[config.sweep.oracle](**arguments)
    oracle.is_forbidden = functools.partial(is_forbidden, config)
    oracle.restore(config, records.read_trials())
    if isinstance(oracle, Bayesian):
        oracle.records = records
    return oracle


def list_arguments(config: Config) -> dict[str, Any]:
    """Returns the arguments that every oracle of KerasTuner takes."""
    return {
        "objective": keras_tuner.Objective(SCORE, "max"),
        "seed": config.run.seed + 1,  # KerasTuner takes 0 for a random seed
        "hyperparameters": build_hyperparameters(config),
    }
