"""What a Gaussian process makes of the scores so far: what other configurations would have, and how sure that is."""

import warnings
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel, Matern, WhiteKernel

# Its length scales and noise are fitted to so many observations, in so many steps, at most; predictions use all.
MAX_FITTED, MAX_ITERATIONS = 80, 25


def predict(x: np.ndarray, y: np.ndarray, pending: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the candidates' scores, each `(candidates,)` float64.

    Args:
        x: `(observations, dimensions)` float64 in [0, 1], configurations with a score.
        y: `(observations,)` float64, their scores.
        pending: `(configurations, dimensions)`, at work now, perhaps none. They are believed to end as predicted, so
            that workers at the same time do not try the same corner.
        candidates: `(candidates, dimensions)`.
    """
    process = GaussianProcessRegressor(_fit_kernel(x, y), optimizer=None, normalize_y=True).fit(x, y)
    if len(pending):
        process.fit(np.vstack([x, pending]), np.append(y, process.predict(pending)))
    mean, deviation = process.predict(candidates, return_std=True)
    return mean, deviation


def _fit_kernel(x: np.ndarray, y: np.ndarray) -> Kernel:
    # The best of very many, and others evenly over all scores.
    order = np.argsort(-y, kind="stable")
    if len(order) > MAX_FITTED:
        half = MAX_FITTED // 2
        order = np.append(order[:half], order[half:][np.linspace(0, len(order) - half - 1, half).astype(int)])
    kernel = Matern(np.ones(x.shape[1]), nu=2.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, optimizer=_climb, normalize_y=True)
    with warnings.catch_warnings():
        # A length scale at its bound says that a hyperparameter does not matter, which is no cause for alarm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(x[order], y[order]).kernel_


def _climb(loss: Any, theta: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
    """Fits a kernel's parameters in a few steps: more of them change a proposal no more than noise does."""
    found = scipy.optimize.minimize(loss, theta, jac=True, bounds=bounds, options={"maxiter": MAX_ITERATIONS})
    return found.x, found.fun
