"""The prediction of images, batch by batch."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

import keras
import numpy as np

BATCH_SIZE = 64
Name = TypeVar("Name")


def predict_images(
    model: keras.Model, images: Iterable[tuple[Name, np.ndarray]]
) -> Iterator[tuple[Name, np.ndarray, np.ndarray]]:
    """Yields the name, the pixels `(size, size, 3)` and the probabilities `(classes,)` of each image.

    `images` are names with pixels from 0 to 255. They are taken a batch at a time.
    """
    remaining = iter(images)
    while batch := list(itertools.islice(remaining, BATCH_SIZE)):
        pixels = np.stack([image for _, image in batch]).astype(np.float32)
        probabilities = keras.ops.convert_to_numpy(model(pixels, training=False))
        for (name, image), row in zip(batch, probabilities, strict=True):
            yield name, image, row
