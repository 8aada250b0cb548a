"""Deletion and insertion scores of attribution methods: Petsiuk et al. 2018, arXiv 1806.07421.

Deletion replaces pixels by those of a blurred image, the most important first. Insertion puts the pixels back into the
blurred image in the same order. The better the method, the faster the probability falls or rises.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from scipy import ndimage

from keras_inat.explain.batches import map_batches, trace_class_output
from keras_inat.explain.logits import strip_model

NUM_STEPS = 12
BLUR = 1 / 6  # standard deviation of the blur, as a fraction of the image's side


@dataclass(frozen=True)
class DeletionInsertion:
    """Deletion and insertion curves of one attribution method.

    Attributes:
        deletion: `(images, steps + 1)` float32, probability of the explained class after each step, from no to all
            pixels deleted.
        insertion: The same for inserted pixels.
    """

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """`(images,)`: area under the insertion curve minus area under the deletion curve; higher is better."""
        return np.trapezoid(self.insertion - self.deletion, dx=1 / (self.insertion.shape[1] - 1), axis=1)


def compute_deletion_insertion(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, maps: Mapping[str, np.ndarray]
) -> dict[str, DeletionInsertion]:
    """Computes the deletion and insertion curves of attribution methods.

    Args:
        model: A classifier.
        images: `(images, height, width, 3)` in [0, 255].
        classes: `(images,)` int, the explained class of each image.
        maps: `(images, height, width)` float by method, as `compute_importance` returns them.
    """
    images = np.asarray(images, dtype=np.float32)
    sigma = BLUR * min(images.shape[1:3])
    blurred = ndimage.gaussian_filter(images, (0, sigma, sigma, 0))
    probability = trace_class_output(strip_model(model))
    curves = {}
    for name, importances in maps.items():
        deletion = np.empty((len(images), NUM_STEPS + 1), np.float32)
        insertion = np.empty_like(deletion)
        for index, importance in enumerate(importances):
            changed = _mask_pixels(importance)
            labels = np.full(NUM_STEPS + 1, classes[index])
            deleted = np.where(changed, blurred[index], images[index])
            inserted = np.where(changed, images[index], blurred[index])
            deletion[index] = map_batches(probability, deleted, labels)
            insertion[index] = map_batches(probability, inserted, labels)
        curves[name] = DeletionInsertion(deletion, insertion)
    return curves


def _mask_pixels(importance: np.ndarray) -> np.ndarray:
    """Returns the pixels changed after each step, the most important first: `(steps + 1, height, width, 1)` bool."""
    rank = np.empty(importance.size, np.int64)
    rank[np.argsort(-importance, axis=None, kind="stable")] = np.arange(importance.size)
    bounds = np.linspace(0, importance.size, NUM_STEPS + 1)
    return rank.reshape(1, *importance.shape, 1) < bounds[:, None, None, None]
