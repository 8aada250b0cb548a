"""Interactions: pairs of hyperparameters of which the effect of one depends on the value of the other."""

import itertools

import numpy as np
from scipy.special import fdtrc, fdtri

from keras_inat.intervals import Estimate
from keras_inat.reporting.formatting import SPACE, percentage_points, sample_size, setting_name, setting_value, signed
from keras_inat.reporting.statistics import linear_model
from keras_inat.reporting.statistics.linear_model import LinearModel, Regression

MAX_FALSE_POSITIVE = 0.001  # probability of any false interaction if the model is exact, which it nearly is
TRIALS_PER_COLUMN = 3  # of a model with an interaction


def find_interactions(model: LinearModel) -> list[str]:
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
            sentence = _describe_interaction(model, first, second, regression, probability)
            found += [(probability, sentence)] if sentence else []
    return [sentence for _, sentence in sorted(found)]


def _select_columns(model: LinearModel, index: int) -> np.ndarray:
    """Returns the columns of a factor in the model, `(trials, k)`: of a number the first power only."""
    columns = model.matrix[:, model.slices[index]]
    return columns[:, :1] if model.factors[index].is_number else columns


def _describe_interaction(model: LinearModel, first: int, second: int, regression: Regression, p: float) -> str | None:
    """Returns the effect of a change of the first factor where the second makes it the smallest and the largest.

    The interval of their difference is Scheffé's, which holds for every choice of the two. None if it contains zero.
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
    # The effect of each change of the first factor (rows) at each level of the second (columns).
    effects = (changes @ slopes)[:, None] + changes[:, :num_first] @ products @ levels.T
    change = np.ptp(effects, axis=1).argmax()
    smallest, largest = np.argsort(effects[change])[[0, -1]]
    value = float(effects[change, largest] - effects[change, smallest])
    weights = np.outer(changes[change, :num_first], levels[largest] - levels[smallest]).ravel()
    half = float(np.sqrt(critical * weights @ regression.covariance[-count:, -count:] @ weights))
    estimate = Estimate(value, value - half, value + half, len(model.scores), "trials")
    if not estimate.excludes_zero:
        return None
    difference, interval = percentage_points(estimate)
    (start, _), (end, _) = pairs[change]
    at = []
    for index in (smallest, largest):
        level = setting_value(other.points[index][0])
        at.append(f"{signed(100 * effects[change, index], 1)} points where `{setting_name(other.setting)}` = {level}")
    return (
        f"`{setting_name(factor.setting)}` from {setting_value(start)} to {setting_value(end)}: {at[0]}, {at[1]}; "
        f"a difference of {difference} points (95{SPACE}% interval {interval}, {sample_size(estimate)}; p = {p:.1g}, "
        "corrected for the number of pairs)."
    )
