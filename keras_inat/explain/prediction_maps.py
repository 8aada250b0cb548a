"""Maps of the evidence for predicted classes, by the best method that needs no other runtime than the predictor's.

An export has class activation maps of sufficient size, or parts of the image are occluded. Only a Keras model has
gradients.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from keras_inat.models.prediction import predict_in_batches
from keras_inat.models.predictors import Predictor

GUIDED = "guided gradient"
CAVEAT = (
    "Guided backpropagation (Springenberg et al. 2014) is in part an edge detector: its maps hardly depend on the "
    "weights of the upper layers (Adebayo et al. 2018, arXiv 1810.03292)."
)
LEGEND = f"Gray: zero gradient. Brighter or darker: more or less of that color raises the explained output. {CAVEAT}"
MIN_CAM_SIDE = 4  # smaller maps localize poorly
GRAY = 127.5
# Positions of the occluding square in each direction. They are few in `predict`, which explains many images.
NUM_POSITIONS = 9
NUM_FAST_POSITIONS = 5
SMALLEST = 1e-12  # a probability whose logarithm is still a number


class PredictionMaps(NamedTuple):
    """Maps of several images, and the method that computed them."""

    method: str
    legend: str
    # `(images, height, width)`, higher where there is more evidence for the class; or guided gradients,
    # `(images, height, width, 3)`.
    values: np.ndarray


def compute_prediction_maps(predictor: Predictor, pixels: np.ndarray, classes: np.ndarray) -> PredictionMaps:
    """Computes maps of the predicted classes `(images,)` int of images `(images, size, size, 3)` uint8."""
    if predictor.model is not None:
        from keras_inat.explain.guided_backpropagation import explain_predictions

        return PredictionMaps(GUIDED, LEGEND, explain_predictions(predictor.model, pixels, classes))
    maps = predictor.compute_maps(pixels) if predictor.compute_maps else None
    if maps is not None and min(maps.shape[1:3]) >= MIN_CAM_SIDE:
        legend = "Yellow: the places that raise the score of the class most, by class activation mapping (Zhou et al. "
        legend += "2016, arXiv 1512.04150)."
        return PredictionMaps("class activation map", legend, maps[np.arange(len(pixels)), ..., classes])
    legend = "Yellow: the places whose occlusion by a gray square lowers the probability of the class most (Zeiler and "
    legend += "Fergus 2014, arXiv 1311.2901)."
    return PredictionMaps("occlusion map", legend, _occlude(predictor, pixels, classes))


def build_occlusion_masks(height: int, width: int, num_positions: int = NUM_POSITIONS) -> np.ndarray:
    """Returns the masks `(positions, height, width)` bool of a square with a quarter of the image's side."""
    size = max(1, min(height, width) // 4)
    tops = np.linspace(0, height - size, num_positions).round().astype(int)
    lefts = np.linspace(0, width - size, num_positions).round().astype(int)
    corners = sorted({(top, left) for top in tops for left in lefts})
    masks = np.zeros((len(corners), height, width), bool)
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + size, left : left + size] = True
    return masks


def compute_occlusion_map(
    score: Callable[[np.ndarray], np.ndarray], image: np.ndarray, num_positions: int = NUM_POSITIONS
) -> np.ndarray:
    """Computes the occlusion map `(height, width)` of an image: Zeiler and Fergus 2014, arXiv 1311.2901.

    A gray square moves over the image. The value of a pixel is the mean decrease of the score over the squares that
    cover it. `score` returns the scores `(images,)` of images, the first of which is not occluded.
    """
    height, width = image.shape[:2]
    masks = build_occlusion_masks(height, width, num_positions)
    scores = score(np.concatenate([image[None], np.where(masks[..., None], GRAY, image)]))
    decreases = np.sum(masks * (scores[0] - scores[1:])[:, None, None], axis=0)
    return decreases / np.maximum(masks.sum(axis=0, dtype=np.float32), 1)


def _occlude(predictor: Predictor, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes occlusion maps `(images, height, width)` of log-probabilities."""

    def score(images: np.ndarray, label: int) -> np.ndarray:
        probabilities = predict_in_batches(predictor.predict, images.astype(np.uint8))[:, label]
        return np.log(np.maximum(probabilities, SMALLEST))

    pairs = zip(pixels, classes.tolist(), strict=True)
    maps = [compute_occlusion_map(partial(score, label=label), image, NUM_FAST_POSITIONS) for image, label in pairs]
    return np.stack(maps)
