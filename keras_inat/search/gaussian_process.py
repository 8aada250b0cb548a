"""A Gaussian process for the final scores of configurations."""

import functools
import warnings
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

MAX_FITTED = 80  # observations that the parameters of the kernel are fitted to; predictions use all
MAX_ITERATIONS = 25  # of the fit; more would change a proposal no more than the noise does
# Means and standard deviations of the normal priors of the logarithms of the kernel's parameters. Inputs are in [0, 1],
# and scores have the variance 1. Without priors, a fit to few trials takes chance for an effect.
PRIORS = {"variance": (0.0, 0.5), "length scale": (0.5, 1.0), "noise": (np.log(0.05), 1.0)}
# Scores further below the median than twice the distance of the best one above it are raised to that limit. Otherwise
# the configurations that fail to learn decide on the scale, and the differences among the best ones look like noise.
MAX_BELOW = 2.0
JITTER = 1e-9  # keeps a matrix of equal configurations invertible


def fit_process(
    x: np.ndarray, scores: np.ndarray, variances: np.ndarray, pending: np.ndarray
) -> GaussianProcessRegressor:
    """Fits a Gaussian process with a length scale for each input.

    Args:
        x: The configurations, `(trials, inputs)` in [0, 1].
        scores: Their final scores, `(trials,)`.
        variances: The variances of the errors of these scores, `(trials,)`, in addition to the noise of all scores.
        pending: Configurations that are assumed to end with their predicted scores, `(pending, inputs)`. Simultaneous
            workers then try different regions.
    """
    median = np.median(scores)
    scores = np.maximum(scores, median - MAX_BELOW * (scores.max() - median))
    variances = variances / (scores.var() or 1.0)
    chosen = _choose_fitted(scores)
    kernel = _fit_kernel(*(values[chosen].tobytes() for values in (x, scores, variances)))
    process = _condition(kernel, x, scores, variances)
    if len(pending):
        scores = np.append(scores, process.predict(pending))
        process = _condition(kernel, np.vstack([x, pending]), scores, np.append(variances, np.zeros(len(pending))))
    return process


def _condition(kernel: Kernel, x: np.ndarray, scores: np.ndarray, variances: np.ndarray) -> GaussianProcessRegressor:
    process = GaussianProcessRegressor(kernel, alpha=variances + JITTER, optimizer=None, normalize_y=True)
    return process.fit(x, scores)


def _choose_fitted(scores: np.ndarray) -> np.ndarray:
    """Returns the indices of the observations that the kernel is fitted to, `(fitted,)`."""
    order = np.argsort(-scores, kind="stable")
    if len(order) > MAX_FITTED:
        # The best observations, and others evenly over the remaining scores.
        half = MAX_FITTED // 2
        spread = np.linspace(0, len(order) - half - 1, half).astype(int)
        order = np.append(order[:half], order[half:][spread])
    return order


@functools.lru_cache(maxsize=1)
def _fit_kernel(x_bytes: bytes, scores_bytes: bytes, variances_bytes: bytes) -> Kernel:
    """Fits the kernel to arrays, given as bytes. A trial that asks and the next proposal often need the same one."""
    scores, variances = (np.frombuffer(values) for values in (scores_bytes, variances_bytes))
    x = np.frombuffer(x_bytes).reshape(len(scores), -1)
    kernel = ConstantKernel() * Matern(np.ones(x.shape[1]), nu=2.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, alpha=variances + JITTER, optimizer=_maximize, normalize_y=True)
    with warnings.catch_warnings():
        # A length scale at its bound belongs to a hyperparameter without an effect. It needs no warning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(x, scores).kernel_


def _maximize(loss: Any, initial_theta: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
    """Finds the parameters of a kernel with the maximum posterior; see `optimizer` of `GaussianProcessRegressor`."""
    names = ["variance", *["length scale"] * (len(initial_theta) - 2), "noise"]
    means, deviations = np.array([PRIORS[name] for name in names]).T

    def penalize(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss(theta)
        standardized = (theta - means) / deviations
        return value + standardized @ standardized / 2, gradient + standardized / deviations

    options = {"maxiter": MAX_ITERATIONS}
    found = scipy.optimize.minimize(penalize, initial_theta, jac=True, bounds=bounds, options=options)
    return found.x, found.fun
