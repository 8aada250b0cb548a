"""Interactions: pairs of hyperparameters whose effects depend on each other."""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc, fdtri

from keras_inat.report.formatting import SPACE, setting_name, setting_value, signed
from keras_inat.report.statistics import linear_model
from keras_inat.report.statistics.linear_model import Factor, LinearModel

MAX_FALSE_POSITIVE = 0.001  # probability of any false interaction if the model is exact, which it nearly is
TRIALS_PER_COLUMN = 3


class _Interaction(NamedTuple):
    """The fitted products of the columns of two factors."""

    first: Factor  # the factor whose effect is described
    second: Factor  # the factor that it depends on
    slopes: np.ndarray  # `(columns of first,)`, the coefficients of the first factor by itself
    products: np.ndarray  # `(columns of first, columns of second)`, the coefficients of the products
    covariance: np.ndarray  # of the products, flattened, for Scheffé intervals: the critical value is in it
    probability: float  # p value of Wald's test, multiplied by the number of pairs
    num_trials: int


def find_interactions(model: LinearModel) -> list[str]:
    """Describes pairs of factors whose products improve the model, the most significant first.

    Wald's test decides, with Bonferroni's correction for the number of pairs.
    """
    pairs = list(itertools.combinations(range(len(model.factors)), 2))
    tested = [_test_pair(model, first, second, len(pairs)) for first, second in pairs]
    return [text for _, text in sorted((found.probability, _describe(found)) for found in tested if found)]


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
    regression = linear_model.fit_regression(matrix, model.scores)
    num_effective = linear_model.count_effective_trials(regression.influence[-count:]).min()
    if num_effective < linear_model.MIN_EFFECTIVE_TRIALS or regression.residuals.std() < linear_model.MIN_RESIDUAL:
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
        covariance=covariance * count * float(fdtri(count, degrees_of_freedom, linear_model.CONFIDENCE)),
        probability=probability,
        num_trials=len(model.scores),
    )


def _select_columns(model: LinearModel, index: int) -> np.ndarray:
    """Returns the columns of a factor in the model, `(trials, k)`: of a number the first power only."""
    columns = model.matrix[:, model.slices[index]]
    return columns[:, :1] if model.factors[index].is_number else columns


def _describe(found: _Interaction) -> str:
    """Returns the effect of a change of the first factor where the second makes it the smallest and the largest.

    The interval of their difference is Scheffé's, which holds for every choice of the two.
    """
    num_first, num_second = found.products.shape
    pairs = list(itertools.combinations(found.first.points, 2))
    changes = np.array([after - before for (_, before), (_, after) in pairs])
    mean = found.second.columns.mean(axis=0)
    levels = np.array([columns - mean for _, columns in found.second.points])[:, :num_second]
    # In percentage points, the effect of each change of the first factor (rows) at each level of the second (columns).
    effects = 100 * ((changes @ found.slopes)[:, None] + changes[:, :num_first] @ found.products @ levels.T)
    change = np.ptp(effects, axis=1).argmax()
    smallest, largest = np.argsort(effects[change])[[0, -1]]
    difference = effects[change, largest] - effects[change, smallest]
    weights = np.outer(changes[change, :num_first], levels[largest] - levels[smallest]).ravel()
    half = 100 * float(np.sqrt(weights @ found.covariance @ weights))
    (start, _), (end, _) = pairs[change]
    at = []
    for index in (smallest, largest):
        level = setting_value(found.second.points[index][0])
        at.append(f"{signed(effects[change, index], 1)} points where `{setting_name(found.second.setting)}` = {level}")
    return (
        f"`{setting_name(found.first.setting)}` from {setting_value(start)} to {setting_value(end)}: {at[0]}, {at[1]}; "
        f"a difference of {difference:.1f} points (95{SPACE}% interval {difference - half:.1f} to "
        f"{difference + half:.1f}, n{SPACE}={SPACE}{found.num_trials:,} trials; p = {found.probability:.1g}, "
        "corrected for the number of pairs)."
    )
