"""A Gaussian process that predicts the scores of untried configurations."""

import warnings
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel, Matern, WhiteKernel

# The length scales and the noise are fitted to this many observations at most. Predictions use all of them.
MAX_FITTED = 80
# More steps would change a proposal no more than the noise does.
MAX_ITERATIONS = 25


def predict(x: np.ndarray, y: np.ndarray, pending: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicts the scores of candidates.

    Args:
        x: `(observations, dimensions)` float64 in [0, 1], configurations with a score.
        y: `(observations,)` float64, their scores.
        pending: `(configurations, dimensions)` float64, configurations in training, possibly none. They are assumed to
            end with their predicted scores, so that simultaneous workers try different regions.
        candidates: `(candidates, dimensions)` float64.

    Returns:
        The mean and the standard deviation of each candidate's score, `(candidates,)` float64 each.
    """
    process = GaussianProcessRegressor(_fit_kernel(x, y), optimizer=None, normalize_y=True).fit(x, y)
    if len(pending):
        process.fit(np.vstack([x, pending]), np.append(y, process.predict(pending)))
    mean, deviation = process.predict(candidates, return_std=True)
    return mean, deviation


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
