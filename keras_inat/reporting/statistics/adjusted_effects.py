"""Adjusted effects: the effect of each hyperparameter with all others held fixed, from one linear model of a sweep.

A search samples its hyperparameters unevenly. It returns to configurations with high scores, so values without any
effect occur together with values that have one. A regression on all hyperparameters together separates them. The
intervals are simultaneous (max abs(t): Hothorn et al. 2008), so that many rows cause no false positives. Two
hyperparameters interact if the effect of one depends on the other.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, fdtri

from keras_inat.intervals import Estimate
from keras_inat.reporting.formatting import SPACE, percentage_points, sample_size, setting_name, setting_value, signed
from keras_inat.reporting.statistics import linear_model
from keras_inat.reporting.statistics.linear_model import Factor, LinearModel, Regression
from keras_inat.reporting.sweep_history import SweepHistory, read_level
from keras_inat.store.records import Trial

MIN_DEGREES_OF_FREEDOM = 8
# Degree of polynomials, and the trials that it needs for each column. The first with enough trials is taken.
DEGREES = {4: 6, 2: 3, 1: 0}
OUTLIER_RANGES = 3.0  # interquartile ranges below the lower quartile (Tukey 1977): trials that did not learn at all
MIN_RANGE = 0.02  # least interquartile range of accuracy, as scores on few images are often equal
MAX_FALSE_POSITIVE = 0.001  # probability of any false interaction if the model is exact, which it nearly is
TRIALS_PER_COLUMN = 3  # of a model with an interaction


@dataclass(frozen=True)
class AdjustedEffect:
    """The effect of a change of one hyperparameter on the score of a trial, with all others held fixed."""

    setting: str  # dotted name
    change: str  # such as "from 16 to 64" or "gelu against the others"
    estimate: Estimate  # the difference in accuracy

    @property
    def is_significant(self) -> bool:
        return self.estimate.excludes_zero

    @property
    def sentence(self) -> str:
        """The effect with its interval and sample size."""
        value, interval = percentage_points(self.estimate)
        reference = ", against the mean of these two" if self.change.startswith("half-way") else ""
        return (
            f"`{setting_name(self.setting)}` {self.change}{reference}: {value} points "
            f"(95 % interval {interval}, {sample_size(self.estimate)})."
        )


@dataclass(frozen=True)
class AdjustedEffects:
    """The linear model of a sweep and its effects."""

    effects: list[AdjustedEffect]  # one or more for each hyperparameter, in the order of the sweep
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
    return AdjustedEffects(
        effects=_estimate_effects(model),
        interactions=_find_interactions(model),
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


def _estimate_effects(model: LinearModel) -> list[AdjustedEffect]:
    """Returns the effects that rest on enough trials, with simultaneous intervals."""
    changes = list[tuple[Factor, str]]()
    rows = list[np.ndarray]()
    for factor, columns in zip(model.factors, model.slices, strict=True):
        for change, weights in _list_contrasts(factor):
            row = np.zeros(model.matrix.shape[1])
            row[columns] = weights
            num_effective = linear_model.count_effective_trials(row[None] @ model.regression.influence)[0]
            if num_effective >= linear_model.MIN_EFFECTIVE_TRIALS:
                changes.append((factor, change))
                rows.append(row)
    if not rows:
        return []
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
    return effects


def _list_contrasts(factor: Factor) -> list[tuple[str, np.ndarray]]:
    """Returns the changes of a factor that are estimated, each with its weights of the factor's coefficients."""
    names = [setting_value(value) for value, _ in factor.points]
    columns = [columns for _, columns in factor.points]
    if factor.is_number:
        low, high = columns
        contrasts = [(f"from {names[0]} to {names[1]}", high - low)]
        if len(low) > 1:  # a curve; all powers are zero half-way
            contrasts.append((f"half-way between {names[0]} and {names[1]}", -(low + high) / 2))
        return contrasts
    if len(columns) == 2:
        return [(f"{names[1]} against {names[0]}", columns[1] - columns[0])]
    total = np.sum(columns, axis=0)
    return [
        (f"{name} against the others", own - (total - own) / (len(columns) - 1))
        for name, own in zip(names, columns, strict=True)
    ]


def _find_interactions(model: LinearModel) -> list[str]:
    """Describes pairs of factors whose products improve the model, the most significant first.

    Wald's test decides, with Bonferroni's correction for the number of pairs.
    """
    found = []
    pairs = list(itertools.combinations(range(len(model.factors)), 2))
    for first, second in pairs:
        products = _select_columns(model, first)[:, :, None] * _select_columns(model, second)[:, None, :]
        matrix = np.column_stack([model.matrix, products.reshape(len(products), -1)])
        num_columns = matrix.shape[1]
        if len(matrix) < TRIALS_PER_COLUMN * num_columns or np.linalg.matrix_rank(matrix) < num_columns:
            continue
        regression = linear_model.fit_regression(matrix, model.scores)
        new = slice(model.matrix.shape[1], None)
        num_effective = linear_model.count_effective_trials(regression.influence[new]).min()
        if num_effective < linear_model.MIN_EFFECTIVE_TRIALS or regression.residuals.std() < linear_model.MIN_RESIDUAL:
            continue
        coefficients = regression.coefficients[new]
        count = len(coefficients)
        wald = float(coefficients @ np.linalg.solve(regression.covariance[new, new], coefficients)) / count
        # `fdtrc` is the survival function of `scipy.stats.f` and takes 1/100 of its time for a single number.
        probability = float(fdtrc(count, len(matrix) - num_columns, wald)) * len(pairs)
        if probability < MAX_FALSE_POSITIVE:
            found.append((probability, _describe_interaction(model, first, second, regression, probability)))
    return [sentence for _, sentence in sorted(found)]


def _select_columns(model: LinearModel, index: int) -> np.ndarray:
    """Returns the columns of a factor in the model, `(trials, k)`: of a number the first power only."""
    columns = model.matrix[:, model.slices[index]]
    return columns[:, :1] if model.factors[index].is_number else columns


def _describe_interaction(model: LinearModel, first: int, second: int, regression: Regression, p: float) -> str:
    """Returns the effect of a change of the first factor where the second makes it the smallest and the largest.

    The interval of their difference is Scheffé's, which holds for every choice of the two.
    """
    factor = model.factors[first]
    other = model.factors[second]
    num_first = _select_columns(model, first).shape[1]
    num_second = _select_columns(model, second).shape[1]
    count = num_first * num_second
    slopes = regression.coefficients[model.slices[first]]
    products = regression.coefficients[-count:].reshape(num_first, num_second)
    degrees_of_freedom = len(model.scores) - len(regression.coefficients)
    critical = count * float(fdtri(count, degrees_of_freedom, linear_model.CONFIDENCE))
    pairs = list(itertools.combinations(factor.points, 2))
    changes = np.array([after - before for (_, before), (_, after) in pairs])
    levels = np.array([columns - other.columns.mean(axis=0) for _, columns in other.points])[:, :num_second]
    # In percentage points, the effect of each change of the first factor (rows) at each level of the second (columns).
    effects = 100 * ((changes @ slopes)[:, None] + changes[:, :num_first] @ products @ levels.T)
    change = np.ptp(effects, axis=1).argmax()
    smallest, largest = np.argsort(effects[change])[[0, -1]]
    difference = effects[change, largest] - effects[change, smallest]
    weights = np.outer(changes[change, :num_first], levels[largest] - levels[smallest]).ravel()
    half = 100 * float(np.sqrt(critical * weights @ regression.covariance[-count:, -count:] @ weights))
    (start, _), (end, _) = pairs[change]
    at = []
    for index in (smallest, largest):
        level = setting_value(other.points[index][0])
        at.append(f"{signed(effects[change, index], 1)} points where `{setting_name(other.setting)}` = {level}")
    return (
        f"`{setting_name(factor.setting)}` from {setting_value(start)} to {setting_value(end)}: {at[0]}, {at[1]}; "
        f"a difference of {difference:.1f} points (95{SPACE}% interval {difference - half:.1f} to "
        f"{difference + half:.1f}, n{SPACE}={SPACE}{len(model.scores):,} trials; p = {p:.1g}, "
        "corrected for the number of pairs)."
    )
