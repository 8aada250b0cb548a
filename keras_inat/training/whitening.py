"""The first layer's initial kernels as principal components of the images' patches (Jordan 2024, arXiv 2404.00498)."""

import keras
import numpy as np

from keras_inat.data.augment import augment
from keras_inat.data.dataset import Dataset
from keras_inat.data.pipeline import read_rows
from keras_inat.models.cost import list_prefixes
from keras_inat.settings.schema import Config

NUM_IMAGES = 1000
PATCHES_PER_IMAGE = 100


def whiten_first_layer(model: keras.Model, config: Config, data: Dataset) -> None:
    """Replaces the kernels of the first layer of each member by the first principal components, with both signs.

    Uncorrelated outputs let all filters learn from the first step on. An activation blocks one of the signs, and
    batch normalization gives every output the same variance. The filters keep the norm of random ones, so that the
    learning rate and the weight decay keep their meaning. Filters beyond twice the number of components stay random.
    """
    for prefix in list_prefixes(config.model):
        layer = model.get_layer(f"{prefix}block1_conv")
        kernel = layer.kernel.numpy()
        side, _, _, filters = kernel.shape
        components = find_components(draw_patches(config, data, side))[:, : (filters + 1) // 2]
        signed = np.concatenate([components, -components], axis=1)[:, :filters]
        norm = np.sqrt(np.mean(np.sum(kernel**2, axis=(0, 1, 2))))
        kernel[..., : signed.shape[1]] = norm * signed.reshape(side, side, 3, -1)
        layer.kernel.assign(kernel)


def find_components(patches: np.ndarray) -> np.ndarray:
    """Returns the principal components of `(patches, values)` as columns `(values, values)` of norm 1, largest first.

    The sign of a component is arbitrary. Here its largest value is positive.
    """
    vectors = np.linalg.eigh(np.cov(patches, rowvar=False))[1][:, ::-1]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return vectors * np.sign(largest)


def draw_patches(config: Config, data: Dataset, side: int) -> np.ndarray:
    """Draws random patches `(patches, side * side * 3)` of training images, augmented and as large as the last ones."""
    generator = np.random.default_rng((config.run.seed, 5))
    count = min(NUM_IMAGES, len(data.training_rows))
    rows = np.sort(generator.choice(data.training_rows, count, replace=False))
    targets = np.zeros((count, 1), np.float32)  # the labels do not matter
    size = config.training_sizes[-1]
    images, _ = augment(read_rows(data.training_images, rows), targets, size, (config.run.seed, 6), config.augment)
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))
    places = generator.integers(windows.shape[1], size=(2, count, PATCHES_PER_IMAGE))
    patches = windows[np.arange(count)[:, None], places[0], places[1]]  # `(images, patches, 3, side, side)`
    return patches.transpose(0, 1, 3, 4, 2).reshape(count * PATCHES_PER_IMAGE, -1).astype(np.float64)
