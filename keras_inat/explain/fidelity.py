"""Whether a method finds the pixels that a model uses: deletion and insertion, Petsiuk et al. 2018, arXiv 1806.07421.

Pixels are replaced by those of a blurred image, most important first (deletion: the sooner the probability falls, the
better the method), or put back into it (insertion: the sooner it rises, the better).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from scipy import ndimage

from keras_inat.explain.activations import map_batches, strip_model, trace_score

NUM_STEPS = 12
BLUR = 1 / 6  # of the side


@dataclass(frozen=True)
class Fidelity:
    """Curves of a method: `(images, steps + 1)` float32 probabilities, of none to all of the pixels."""

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """`(images,)`: the area under the insertion curve less that under the deletion curve; more is better."""
        return np.trapezoid(self.insertion - self.deletion, dx=1 / (self.insertion.shape[1] - 1), axis=1)


def measure_fidelity(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, maps: Mapping[str, np.ndarray]
) -> dict[str, Fidelity]:
    """Scores methods by what happens to the probability of a class.

    Args:
        model: A classifier.
        images: `(images, height, width, 3)` in [0, 255].
        classes: `(images,)` int, the class of each image that is explained.
        maps: By method `(images, height, width)` float, as `rank_pixels` gives them.
    """
    images = np.asarray(images, dtype=np.float32)
    sigma = BLUR * min(images.shape[1:3])
    blurred = ndimage.gaussian_filter(images, (0, sigma, sigma, 0))
    probability = trace_score(strip_model(model))

    def evaluate_on_test(mixed: np.ndarray, label: int) -> np.ndarray:
        return map_batches(probability, mixed, np.full(len(mixed), label))

    result = {}
    for name, heats in maps.items():
        curves = np.empty((2, len(images), NUM_STEPS + 1), np.float32)
        for index, (image, blur, label, heat) in enumerate(zip(images, blurred, classes, heats, strict=True)):
            rank = np.empty(heat.size, np.int64)
            rank[np.argsort(-heat, axis=None, kind="stable")] = np.arange(heat.size)
            bounds = np.linspace(0, heat.size, NUM_STEPS + 1)
            changed = rank.reshape(1, *heat.shape, 1) < bounds[:, None, None, None]
            curves[0, index] = evaluate_on_test(np.where(changed, blur, image), label)
            curves[1, index] = evaluate_on_test(np.where(changed, image, blur), label)
        result[name] = Fidelity(*curves)
    return result
