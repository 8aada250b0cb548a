"""The prediction of images, batch by batch."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from keras_inat.errors import UserError
from keras_inat.models.predictors import Function
from keras_inat.store.calibration import scale_probabilities

BATCH_SIZE = 64


class PredictedBatch(NamedTuple):
    """Some images with their predictions."""

    names: list[str]
    pixels: np.ndarray  # `(images, size, size, 3)` uint8
    probabilities: np.ndarray  # `(images, classes)` float32


def predict_images(
    predict: Function, images: Iterable[tuple[str, np.ndarray]], temperature: float | None = None
) -> Iterator[PredictedBatch]:
    """Yields predictions of named images, `(size, size, 3)` uint8. The images are taken a batch at a time.

    With a temperature, the probabilities are calibrated.

    Raises:
        UserError: The model predicts infinite numbers, or none.
    """
    remaining = iter(images)
    while batch := list(itertools.islice(remaining, BATCH_SIZE)):
        pixels = np.stack([image for _, image in batch])
        probabilities = scale_probabilities(predict(pixels), temperature)
        for (name, _), row in zip(batch, probabilities, strict=True):
            if not np.isfinite(row).all():
                raise UserError(f"the model predicts no finite probabilities for {name}: its weights are damaged")
        yield PredictedBatch([name for name, _ in batch], pixels, probabilities)


def predict_in_batches(predict: Function, pixels: np.ndarray) -> np.ndarray:
    """Returns the probabilities `(images, classes)` of `(images, size, size, 3)` uint8."""
    batches = [pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE)]
    return np.concatenate([predict(batch) for batch in batches])
