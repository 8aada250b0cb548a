"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): calibrated probabilities from one number."""

import math

import numpy as np

# The fitted temperature lies within these limits.
LIMITS = (0.1, 10.0)
# A softmax in float32 may round a probability to zero, which has no logarithm.
SMALLEST = float(np.finfo(np.float32).tiny)


def scale_probabilities(probabilities: np.ndarray, temperature: float | None) -> np.ndarray:
    """Returns softmax(log(probabilities) / temperature), of `(images, classes)`; without a temperature, the same.

    The order of the classes does not change.
    """
    if temperature is None:
        return probabilities
    logits = _take_logarithm(probabilities) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (scaled / scaled.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


def measure_log_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the negative log-likelihood of each image, `(images,)` float64, given the true classes `labels`."""
    return -_take_logarithm(probabilities)[np.arange(len(labels)), labels]


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Fits the temperature with the least negative log-likelihood.

    Args:
        probabilities: `(images, classes)`, for images that did not train the model.
        labels: `(images,)` int, their true classes.

    Returns:
        The temperature: above 1 for a model that is overconfident on these images. None if every image is classified
        correctly, because then the likelihood has no maximum.
    """
    from scipy.optimize import minimize_scalar  # takes most of a second to import, and predictions do not need it

    if (probabilities.argmax(axis=1) == labels).all():
        return None
    logits = _take_logarithm(probabilities)
    logits -= logits.max(axis=1, keepdims=True)
    of_label = logits[np.arange(len(labels)), labels]

    def measure_loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float(np.mean(np.log(np.exp(logits * inverse).sum(axis=1)) - of_label * inverse))

    bounds = (math.log(LIMITS[0]), math.log(LIMITS[1]))
    best = minimize_scalar(measure_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return round(math.exp(best.x), 5)


def _take_logarithm(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, SMALLEST, dtype=np.float64))
