"""Adjusted effects: the effect of each hyperparameter with all others held fixed, from one linear model of a sweep.

A search samples its hyperparameters unevenly. It returns to configurations with high scores, so values without any
effect occur together with values that have one. A regression on all hyperparameters together separates them. The
intervals are simultaneous (max abs(t): Hothorn et al. 2008), so that many rows cause no false positives.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keras_inat.intervals import Estimate
from keras_inat.reporting.formatting import percentage_points, sample_size, setting_name, setting_value
from keras_inat.reporting.statistics import linear_model
from keras_inat.reporting.statistics.interactions import find_interactions
from keras_inat.reporting.statistics.linear_model import Factor, LinearModel
from keras_inat.reporting.sweep_history import SweepHistory, read_level
from keras_inat.store.records import Trial

MIN_DEGREES_OF_FREEDOM = 8
MIN_LEVEL_TRIALS = 6  # of a choice that others are compared with
# Degree of polynomials, and the trials that it needs for each column. The first with enough trials is taken.
DEGREES = {4: 6, 2: 3, 1: 0}
OUTLIER_RANGES = 3.0  # interquartile ranges below the lower quartile (Tukey 1977): trials that did not learn at all
MIN_RANGE = 0.02  # least interquartile range of accuracy, as scores on few images are often equal
RELEVANT = 0.03  # difference in accuracy that a sweep should resolve
NUM_STEPS = 3  # of the search for the number of trials that it takes


@dataclass(frozen=True)
class AdjustedEffect:
    """The effect of a change of one hyperparameter on the score of a trial, with all others held fixed."""

    setting: str  # dotted name
    change: str  # such as "from 16 to 64" or "gelu against the others"
    estimate: Estimate  # the difference in accuracy

    @property
    def verdict(self) -> Literal["significant", "below 3 points", "inconclusive"]:
        if self.estimate.excludes_zero:
            return "significant"
        # The whole interval is closer to zero than a relevant difference.
        return "below 3 points" if max(-self.estimate.low, self.estimate.high) < RELEVANT else "inconclusive"

    @property
    def half_width(self) -> float:
        """The margin of error."""
        return (self.estimate.high - self.estimate.low) / 2

    @property
    def sentence(self) -> str:
        """The effect with its interval and sample size."""
        value, interval = percentage_points(self.estimate)
        return (
            f"`{setting_name(self.setting)}` {self.change}: {value} points "
            f"(95 % interval {interval}, {sample_size(self.estimate)})."
        )


@dataclass(frozen=True)
class AdjustedEffects:
    """The linear model of a sweep and its effects."""

    effects: list[AdjustedEffect]  # one or more for each hyperparameter, in the order of the sweep
    withheld: list[tuple[str, str]]  # setting and change of the effects that rest on too few trials
    num_needed: int | None  # trials for which the median margin of error is a relevant difference; None: no effects
    interactions: list[str]  # sentences about pairs of hyperparameters, the most significant first
    model: LinearModel
    aliased: dict[str, list[str]]  # by setting that others determine, the settings that it is aliased with
    excluded: list[float]  # accuracies of trials excluded as outliers


def estimate_adjusted_effects(sweep: SweepHistory) -> AdjustedEffects | str:
    """Estimates the adjusted effects of a sweep whose trials trained equally long, or returns why it cannot."""
    trials, excluded = _exclude_outliers(sweep.completed)
    factors, num_columns = _choose_factors(sweep, trials)
    if len(trials) < num_columns + MIN_DEGREES_OF_FREEDOM:
        needed = num_columns + MIN_DEGREES_OF_FREEDOM + len(excluded)
        return (
            f"Too few trials to estimate adjusted effects: this space needs at least {needed} scored trials, "
            f"and the sweep has {len(sweep.completed)}."
        )
    factors, aliased = linear_model.drop_aliased(factors)
    if not factors:
        return "There are no adjusted effects: no hyperparameter varies among the scored trials."
    scores = np.array([trial.score for trial in trials], dtype=float)
    if np.ptp(scores) == 0:
        return "There are no adjusted effects: all trials have the same accuracy."
    model = LinearModel(factors, scores)
    if model.regression.residuals.std() < linear_model.MIN_RESIDUAL:
        return "The adjusted effects have no interval: the linear model fits every accuracy exactly."
    effects, withheld, num_needed = _estimate_effects(model)
    return AdjustedEffects(
        effects=effects,
        withheld=withheld,
        num_needed=num_needed,
        interactions=find_interactions(model),
        model=model,
        aliased=aliased,
        excluded=excluded,
    )


def _exclude_outliers(trials: list[Trial]) -> tuple[list[Trial], list[float]]:
    """Returns the trials without low outliers, and the scores of the outliers."""
    scores = np.array([trial.score for trial in trials], dtype=float)
    lower, upper = np.percentile(scores, [25, 75])
    is_outlier = scores < lower - OUTLIER_RANGES * max(upper - lower, MIN_RANGE)
    return [trials[index] for index in np.flatnonzero(~is_outlier)], scores[is_outlier].tolist()


def _choose_factors(sweep: SweepHistory, trials: list[Trial]) -> tuple[list[Factor], int]:
    """Returns the factors with polynomials of the highest degree that the number of trials allows, and the columns."""
    for degree, trials_per_column in DEGREES.items():
        columns = {name: [read_level(trial, name) for trial in trials] for name in sweep.settings}
        built = [
            linear_model.build_factor(name, values, degree, sweep.is_logarithmic(name))
            for name, values in columns.items()
        ]
        factors = [factor for factor in built if factor]
        num_columns = 1 + sum(factor.columns.shape[1] for factor in factors)
        num_columns += len(linear_model.build_applicability_columns(factors))
        if len(trials) >= trials_per_column * num_columns:
            break
    return factors, num_columns


def _estimate_effects(model: LinearModel) -> tuple[list[AdjustedEffect], list[tuple[str, str]], int | None]:
    """Returns the effects with simultaneous intervals, those that rest on too few trials, and the trials needed."""
    changes = list[tuple[Factor, str]]()
    withheld = list[tuple[str, str]]()
    rows = list[np.ndarray]()
    for factor, columns in zip(model.factors, model.slices, strict=True):
        for change, weights in _list_contrasts(factor):
            row = np.zeros(model.matrix.shape[1])
            row[columns] = weights
            num_effective = linear_model.count_effective_trials(row[None] @ model.regression.influence)[0]
            if num_effective < linear_model.MIN_EFFECTIVE_TRIALS:
                withheld.append((factor.setting, change))
            else:
                changes.append((factor, change))
                rows.append(row)
    if not rows:
        return [], withheld, None
    contrasts = np.array(rows)
    covariance = contrasts @ model.regression.covariance @ contrasts.T
    errors = np.sqrt(np.diag(covariance))
    halves = errors * linear_model.simulate_max_t(covariance / np.outer(errors, errors), model.degrees_of_freedom)
    values = contrasts @ model.regression.coefficients
    effects = []
    for value, half, (factor, change) in zip(values.tolist(), halves.tolist(), changes, strict=True):
        num_trials = sum(level is not None for level in factor.values)
        estimate = Estimate(value, value - half, value + half, num_trials, "trials")
        effects.append(AdjustedEffect(factor.setting, change, estimate))
    return effects, withheld, _count_needed_trials(model, contrasts)


def _count_needed_trials(model: LinearModel, contrasts: np.ndarray) -> int:
    """Returns the trials of such a sweep for which the median margin of error is a relevant difference.

    The residual variance and the design are taken to stay the same, so that standard errors shrink with the square root
    of the number of trials. More degrees of freedom make the quantile smaller as well.
    """
    num_trials, num_columns = model.matrix.shape
    variance = float(model.regression.residuals @ model.regression.residuals) / model.degrees_of_freedom
    covariance = num_trials * variance * contrasts @ np.linalg.inv(model.matrix.T @ model.matrix) @ contrasts.T
    errors = np.sqrt(np.diag(covariance))  # of one trial
    correlation = covariance / np.outer(errors, errors)
    needed = float(num_trials)
    for _ in range(NUM_STEPS):
        quantile = linear_model.simulate_max_t(correlation, max(MIN_DEGREES_OF_FREEDOM, round(needed) - num_columns))
        needed = (quantile * float(np.median(errors)) / RELEVANT) ** 2
    return math.ceil(needed)


def _list_contrasts(factor: Factor) -> list[tuple[str, np.ndarray]]:
    """Returns the changes of a factor that are estimated, each with its weights of the factor's coefficients.

    A choice is compared with the others that have enough trials. A rare one would withhold all of them.
    """
    names = [setting_value(value) for value, _ in factor.points]
    columns = [columns for _, columns in factor.points]
    if factor.is_number:
        low, high = columns
        contrasts = [(f"from {names[0]} to {names[1]}", high - low)]
        if len(low) > 1:  # a curve; all powers are zero half-way
            change = f"half-way between {names[0]} and {names[1]}, against the mean of these two"
            contrasts.append((change, -(low + high) / 2))
        return contrasts
    if len(columns) == 2:
        return [(f"{names[1]} against {names[0]}", columns[1] - columns[0])]
    counts = Counter(factor.values)
    common = [index for index, (value, _) in enumerate(factor.points) if counts[value] >= MIN_LEVEL_TRIALS]
    contrasts = []
    for index, (name, own) in enumerate(zip(names, columns, strict=True)):
        if len(common) == 2 and index == common[0]:
            continue  # the contrast of the second one, with the opposite sign
        others = [other for other in common if other != index] or [n for n in range(len(names)) if n != index]
        reference = "the others" if len(others) == len(names) - 1 else ", ".join(names[other] for other in others)
        mean = np.mean([columns[other] for other in others], axis=0)
        contrasts.append((f"{name} against {reference}", own - mean))
    return contrasts
