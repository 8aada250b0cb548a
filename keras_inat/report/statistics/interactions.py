"""Interactions: pairs of hyperparameters whose effects depend on each other."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, fdtri

from keras_inat.report.formatting import SPACE, setting_name, setting_value, signed
from keras_inat.report.statistics.design_matrix import Factor
from keras_inat.report.statistics.linear_model import (
    CONFIDENCE,
    MIN_EFFECTIVE_TRIALS,
    MIN_RESIDUAL,
    LinearModel,
    count_effective_trials,
    fit_regression,
)

MAX_FALSE_POSITIVE = 0.001  # probability of any false interaction if the model is exact, which it nearly is
TRIALS_PER_COLUMN = 3


@dataclass(frozen=True)
class _Interaction:
    """The fitted products of the columns of two factors.

    Attributes:
        first: The factor whose effect is described.
        second: The factor that it depends on.
        slopes: `(columns of first,)`, the coefficients of the first factor by itself.
        products: `(columns of first, columns of second)`, the coefficients of the products.
        covariance: Of the products, flattened, for Scheffé intervals: the critical value is in it.
        probability: p value of Wald's test, multiplied by the number of pairs.
        num_trials: Number of trials in the model.
    """

    first: Factor
    second: Factor
    slopes: np.ndarray
    products: np.ndarray
    covariance: np.ndarray
    probability: float
    num_trials: int


def find_interactions(model: LinearModel) -> list[str]:
    """Describes pairs of factors whose products improve the model, the most significant first.

    Wald's test decides, with Bonferroni's correction for the number of pairs.
    """
    pairs = list(itertools.combinations(range(len(model.factors)), 2))
    tested = [_test_pair(model, first, second, len(pairs)) for first, second in pairs]
    significant = [(found.probability, _describe_interaction(found)) for found in tested if found]
    return [sentence for _, sentence in sorted(significant)]


def _test_pair(model: LinearModel, first: int, second: int, num_pairs: int) -> _Interaction | None:
    """Returns the interaction of two factors, or None when it is not significant or cannot be estimated."""
    left = _select_columns(model, first)
    right = _select_columns(model, second)
    products = (left[:, :, None] * right[:, None, :]).reshape(len(model.scores), -1)
    count = products.shape[1]
    matrix = np.column_stack([model.matrix, products])
    degrees_of_freedom = matrix.shape[0] - matrix.shape[1]
    if len(matrix) < TRIALS_PER_COLUMN * matrix.shape[1] or np.linalg.matrix_rank(matrix) < matrix.shape[1]:
        return None
    regression = fit_regression(matrix, model.scores)
    if count_effective_trials(regression.influence[-count:]).min() < MIN_EFFECTIVE_TRIALS:
        return None
    if regression.residuals.std() < MIN_RESIDUAL:
        return None
    coefficients = regression.coefficients[-count:]
    covariance = regression.covariance[-count:, -count:]
    wald = float(coefficients @ np.linalg.solve(covariance, coefficients)) / count
    # `fdtrc` is the survival function of `scipy.stats.f` and takes 1/100 of its time for a single number.
    probability = float(fdtrc(count, degrees_of_freedom, wald)) * num_pairs
    if probability >= MAX_FALSE_POSITIVE:
        return None
    return _Interaction(
        first=model.factors[first],
        second=model.factors[second],
        slopes=regression.coefficients[model.slices[first]],
        products=coefficients.reshape(left.shape[1], right.shape[1]),
        covariance=covariance * count * float(fdtri(count, degrees_of_freedom, CONFIDENCE)),
        probability=probability,
        num_trials=len(model.scores),
    )


def _select_columns(model: LinearModel, index: int) -> np.ndarray:
    """Returns the columns of a factor in the model, `(trials, k)`: of a number the first power only."""
    columns = model.matrix[:, model.slices[index]]
    return columns[:, :1] if model.factors[index].is_number else columns


def _describe_interaction(found: _Interaction) -> str:
    """Returns the effect of a change of the first factor where the second makes it the smallest and the largest.

    The interval of their difference is Scheffé's, which holds for every choice of the two.
    """
    changes = list(itertools.combinations(found.first.points, 2))
    (start, before), (end, after) = max(changes, key=lambda ends: np.ptp(_measure(found, ends[1][1] - ends[0][1])))
    effects = _measure(found, after - before)
    smallest, largest = np.argsort(effects)[[0, -1]]
    num_first, num_second = found.products.shape
    turn = found.second.points[largest][1][:num_second] - found.second.points[smallest][1][:num_second]
    weights = np.outer((after - before)[:num_first], turn).ravel()
    difference = effects[largest] - effects[smallest]
    half = 100 * float(np.sqrt(weights @ found.covariance @ weights))
    at = [
        f"{signed(effects[index], 1)} points where {found.second.describe_point(index)}"
        for index in (smallest, largest)
    ]
    return (
        f"`{setting_name(found.first.setting)}` from {setting_value(start)} to {setting_value(end)}: {at[0]}, {at[1]}; "
        f"a difference of {difference:.1f} points (95{SPACE}% interval {difference - half:.1f} to "
        f"{difference + half:.1f}, n{SPACE}={SPACE}{found.num_trials:,} trials; p = {found.probability:.1g}, "
        "corrected for the number of pairs)."
    )


def _measure(found: _Interaction, change: np.ndarray) -> np.ndarray:
    """Returns the effect of a change of the first factor, in percentage points, at each point of the second."""
    num_first, num_second = found.products.shape
    mean = found.second.columns.mean(axis=0)[:num_second]
    at = np.array([columns[:num_second] - mean for _, columns in found.second.points])
    return 100 * (change @ found.slopes + at @ found.products.T @ change[:num_first])
