"""The training images that give 8-bit integers their ranges."""

import numpy as np

from keras_inat.data.dataset import open_data
from keras_inat.data.pipeline import read_rows
from keras_inat.errors import UserError
from keras_inat.store.records import Result

NUM_IMAGES = 200


def read_calibration_images(result: Result) -> tuple[np.ndarray, str]:
    """Returns training images of a run, `(images, size, size, 3)` uint8, and their description.

    They are drawn with a fixed seed, and decoded again if their pack is gone.

    Raises:
        UserError: The images are gone or have changed.
    """
    needed = "litert-int8 is calibrated on the training images of the run"
    try:
        data = open_data(result.config)
    except UserError as error:
        raise UserError(f"{needed}, give them as data.source=<folder or archive>: {error}") from None
    if data.hash != result.data.hash:
        raise UserError(f"{needed}, and {result.config.data.source} has other images now: restore them")
    rows = np.sort(np.random.default_rng(0).permutation(data.training_rows)[:NUM_IMAGES])
    return read_rows(data.images, rows), f"{len(rows)} training images, drawn with seed 0"
