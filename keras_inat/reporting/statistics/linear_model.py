"""A linear model of the score of a trial on the hyperparameters of a sweep.

Its standard errors allow for unequal variances (HC3: MacKinnon & White 1985).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_inat.reporting.sweep_history import is_number

MAX_DISTANCE = 3.0  # limits the leverage of the first trials of a search that has converged since; low and high are ±1
TAIL = 5  # percentile of the values that counts as low; 100 minus it as high
CONFIDENCE = 0.95
NUM_SIMULATIONS = 4000
MIN_EFFECTIVE_TRIALS = 6.0  # that an effect must rest on
MIN_RESIDUAL = 1e-6  # standard deviation of accuracy, below which there is no variance to estimate errors from


@dataclass(frozen=True)
class Factor:
    """A hyperparameter as columns of a linear model."""

    setting: str  # dotted name
    values: list[Any]  # one for each trial; None where the hyperparameter does not apply
    columns: np.ndarray  # `(trials, k)` float64: a number and its powers, or an indicator of each choice but the first
    points: list[tuple[Any, np.ndarray]]  # low and high of a number, or all choices, each with its columns `(k,)`
    is_number: bool = False
    logarithmic: bool = False  # whether a number is taken as its logarithm


def build_factor(setting: str, values: list[Any], degree: int, logarithmic: bool = False) -> Factor | None:
    """Encodes a hyperparameter, a number with powers up to `degree`, or returns None if it does not vary.

    The columns are zero where it does not apply. With `logarithmic`, a number is taken as its logarithm.
    """
    given = [value for value in values if value is not None]
    levels = sorted(set(given), key=lambda value: (0, value) if is_number(value) else (1, str(value)))
    if len(levels) < 2:
        return None
    if not all(is_number(value) for value in levels):
        columns = np.array([[float(value == level) for level in levels[1:]] for value in values])
        return Factor(setting, values, columns, list(zip(levels, np.eye(len(levels))[:, 1:], strict=True)))
    low, high = np.percentile(given, [TAIL, 100 - TAIL], method="nearest").tolist()
    if low == high:
        low = levels[0]
        high = levels[-1]
    scale = np.log if logarithmic else np.asarray
    ends = scale(np.array([low, high], float))
    numbers = scale(np.array([np.nan if value is None else value for value in values], float))
    positions = np.nan_to_num((2 * numbers - ends.sum()) / (ends[1] - ends[0]))
    powers = np.arange(1, min(degree, len(levels) - 1) + 1)
    columns = np.clip(positions, -MAX_DISTANCE, MAX_DISTANCE)[:, None] ** powers
    return Factor(setting, values, columns, [(low, (-1.0) ** powers), (high, 1.0**powers)], True, logarithmic)


def build_applicability_columns(factors: Sequence[Factor]) -> list[np.ndarray]:
    """Returns indicator columns `(trials,)` of conditional hyperparameters: 1 where they apply, 0 elsewhere.

    Hyperparameters whose applicability is a function of another hyperparameter get none. Without these columns the
    effect of a conditional hyperparameter being applied would be attributed to one of its values.
    """
    columns = dict[tuple[bool, ...], None]()
    for factor in factors:
        applies = tuple(value is not None for value in factor.values)
        others = (other.values for other in factors if other is not factor)
        if not all(applies) and not any(_determines(values, applies) for values in others):
            columns[applies] = None
    return [np.array(column, float) for column in columns]


def _determines(values: list[Any], applies: tuple[bool, ...]) -> bool:
    texts = list(map(str, values))
    return len(set(zip(texts, applies, strict=True))) == len(set(texts))


def drop_aliased(factors: list[Factor]) -> tuple[list[Factor], dict[str, list[str]]]:
    """Drops factors that the other factors determine, one at a time, the last first.

    By the setting of each dropped factor, the second result has the settings that it is aliased with.
    """
    kept = list(factors)
    aliased = dict[str, list[str]]()
    for factor in reversed(factors):
        rest = [other for other in kept if other is not factor]
        if not _is_independent(factor, rest):
            kept = rest
            aliased[factor.setting] = []
            for other in rest:
                if _is_independent(factor, [third for third in rest if third is not other]):
                    aliased[factor.setting].append(other.setting)
    return kept, aliased


def _is_independent(factor: Factor, others: list[Factor]) -> bool:
    narrow = np.column_stack([np.ones(len(factor.values)), *(other.columns for other in others)])
    wide = np.column_stack([narrow, factor.columns])
    return bool(np.linalg.matrix_rank(wide) == np.linalg.matrix_rank(narrow) + factor.columns.shape[1])


class Regression(NamedTuple):
    """A least-squares fit."""

    coefficients: np.ndarray  # `(columns,)`
    covariance: np.ndarray  # `(columns, columns)`, the HC3 covariance of the coefficients
    residuals: np.ndarray  # `(trials,)`
    influence: np.ndarray  # `(columns, trials)`, the weight of each score in each coefficient


def fit_regression(matrix: np.ndarray, scores: np.ndarray) -> Regression:
    """Fits least squares to a design matrix `(trials, columns)` of full rank and scores `(trials,)`."""
    influence = np.linalg.inv(matrix.T @ matrix) @ matrix.T
    coefficients = influence @ scores
    residuals = scores - matrix @ coefficients
    leverage = (matrix * influence.T).sum(axis=1)
    weighted = influence * (residuals / np.maximum(1 - leverage, 1e-6))
    return Regression(coefficients, weighted @ weighted.T, residuals, influence)


class LinearModel:
    """A linear model of the scores `(trials,)` on the centered columns of all factors, none aliased with others."""

    def __init__(self, factors: Sequence[Factor], scores: np.ndarray) -> None:
        self.factors = factors
        self.scores = scores
        blocks = [factor.columns - factor.columns.mean(axis=0) for factor in factors]
        ends = np.cumsum([1, *(block.shape[1] for block in blocks)]).tolist()
        self.slices = [slice(*pair) for pair in itertools.pairwise(ends)]  # the columns of each factor
        self.matrix = np.column_stack([np.ones(len(scores)), *blocks])  # `(trials, columns)`, the design matrix
        for column in build_applicability_columns(factors):
            wider = np.column_stack([self.matrix, column - column.mean()])
            if np.linalg.matrix_rank(wider) == wider.shape[1]:
                self.matrix = wider
        self.degrees_of_freedom = self.matrix.shape[0] - self.matrix.shape[1]
        self.regression = fit_regression(self.matrix, scores)

    @property
    def adjusted_r2(self) -> float:
        """Fraction of the variance of accuracy that the model explains, adjusted for its size, at least 0."""
        unexplained = float(self.regression.residuals.var() / self.scores.var())
        return max(0.0, 1 - unexplained * (len(self.scores) - 1) / self.degrees_of_freedom)

    def fit_partially(self) -> list[np.ndarray]:
        """Returns for each factor the fitted accuracy `(trials,)` with all other hyperparameters at their means."""
        coefficients = self.regression.coefficients
        return [self.scores.mean() + self.matrix[:, columns] @ coefficients[columns] for columns in self.slices]


def count_effective_trials(influence: np.ndarray) -> np.ndarray:
    """Returns the number of trials that each effect `(effects, trials)` rests on: n for a mean of n trials."""
    squares = influence**2
    return squares.sum(axis=1) ** 2 / np.maximum((squares**2).sum(axis=1), 1e-300)


def simulate_max_t(correlation: np.ndarray, degrees_of_freedom: int) -> float:
    """Simulates the 95 % quantile of max abs(t) over correlated t statistics (Hothorn et al. 2008)."""
    rng = np.random.default_rng(0)
    normal = rng.multivariate_normal(np.zeros(len(correlation)), correlation, NUM_SIMULATIONS, check_valid="ignore")
    t = normal / np.sqrt(rng.chisquare(degrees_of_freedom, (NUM_SIMULATIONS, 1)) / degrees_of_freedom)
    return float(np.quantile(np.abs(t).max(axis=1), CONFIDENCE))
