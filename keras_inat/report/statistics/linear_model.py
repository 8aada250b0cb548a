"""Least squares with standard errors that allow for unequal variances (HC3: MacKinnon & White 1985)."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_inat.report.statistics.design_matrix import Factor, build_applicability_columns

CONFIDENCE = 0.95
NUM_SIMULATIONS = 4000
MIN_EFFECTIVE_TRIALS = 6.0  # that an effect must rest on
MIN_RESIDUAL = 1e-6  # standard deviation of accuracy, below which there is no variance to estimate errors from


class Regression(NamedTuple):
    """A least-squares fit.

    Attributes:
        coefficients: `(columns,)`.
        covariance: `(columns, columns)`, the HC3 covariance of the coefficients.
        residuals: `(trials,)`.
        influence: `(columns, trials)`, the weight of each score in each coefficient.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    residuals: np.ndarray
    influence: np.ndarray


class LinearModel:
    """A linear model of accuracy on the centered columns of all factors.

    Args:
        factors: Hyperparameters, none aliased with others.
        scores: `(trials,)`, accuracies.

    Attributes:
        matrix: `(trials, columns)`, the design matrix: a constant, the factors, indicators of applicability.
        slices: The columns of each factor.
        regression: The fit.
    """

    def __init__(self, factors: Sequence[Factor], scores: np.ndarray) -> None:
        self.factors = factors
        self.scores = scores
        blocks = [factor.columns - factor.columns.mean(axis=0) for factor in factors]
        ends = np.cumsum([1, *(block.shape[1] for block in blocks)]).tolist()
        self.slices = [slice(*pair) for pair in itertools.pairwise(ends)]
        self.matrix = np.column_stack([np.ones(len(scores)), *blocks])
        for column in build_applicability_columns(factors):
            wider = np.column_stack([self.matrix, column - column.mean()])
            if np.linalg.matrix_rank(wider) == wider.shape[1]:
                self.matrix = wider
        self.regression = fit_regression(self.matrix, scores)

    @property
    def degrees_of_freedom(self) -> int:
        """Number of trials minus number of columns."""
        return self.matrix.shape[0] - self.matrix.shape[1]

    @property
    def adjusted_r2(self) -> float:
        """Fraction of the variance of accuracy that the model explains, adjusted for its size, at least 0."""
        unexplained = float(self.regression.residuals.var() / self.scores.var())
        return max(0.0, 1 - unexplained * (len(self.scores) - 1) / self.degrees_of_freedom)

    def fit_partially(self) -> dict[str, np.ndarray]:
        """Returns by setting the fitted accuracy `(trials,)` with all other hyperparameters at their means."""
        return {
            factor.setting: self.scores.mean() + self.matrix[:, columns] @ self.regression.coefficients[columns]
            for factor, columns in zip(self.factors, self.slices, strict=True)
        }


def fit_regression(matrix: np.ndarray, scores: np.ndarray) -> Regression:
    """Fits least squares to a design matrix `(trials, columns)` of full rank and scores `(trials,)`."""
    influence = np.linalg.inv(matrix.T @ matrix) @ matrix.T
    coefficients = influence @ scores
    residuals = scores - matrix @ coefficients
    leverage = (matrix * influence.T).sum(axis=1)
    weighted = influence * (residuals / np.maximum(1 - leverage, 1e-6))
    return Regression(coefficients, weighted @ weighted.T, residuals, influence)


def count_effective_trials(influence: np.ndarray) -> np.ndarray:
    """Returns the number of trials that each effect effectively rests on: n for a mean of n, near 1 for an outlier.

    Args:
        influence: `(effects, trials)`, the weight of each score in each effect.
    """
    squares = influence**2
    return squares.sum(axis=1) ** 2 / np.maximum((squares**2).sum(axis=1), 1e-300)


def simulate_max_t(correlation: np.ndarray, degrees_of_freedom: int) -> float:
    """Simulates the 95 % quantile of max abs(t) over correlated t statistics (Hothorn et al. 2008)."""
    rng = np.random.default_rng(0)
    normal = rng.multivariate_normal(np.zeros(len(correlation)), correlation, NUM_SIMULATIONS, check_valid="ignore")
    t = normal / np.sqrt(rng.chisquare(degrees_of_freedom, (NUM_SIMULATIONS, 1)) / degrees_of_freedom)
    return float(np.quantile(np.abs(t).max(axis=1), CONFIDENCE))
