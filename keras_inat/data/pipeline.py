"""Batches for training and evaluation, as `tf.data` datasets."""

import functools
import mmap
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_inat.data.augment import Batch, augment
from keras_inat.data.decode import set_up_decoding
from keras_inat.settings.schema import Config

PREFETCH = 4


def build_training_batches(
    images: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, config: Config, first_step: int = 0
) -> tf.data.Dataset:
    """Builds endless shuffled, augmented batches. Each batch is a pure function of `run.seed` and its step.

    Every epoch is a new permutation of the images. Images that do not fill the last batch are skipped in this epoch.

    Args:
        images: `(images, stored, stored, 3)` uint8, at least as large as `data.image_size`; may be a memory map.
        labels: `(images,)` int.
        rows: Indices of the images to train on.
        num_classes: The length of the one-hot labels.
        first_step: The step of the first batch, so that a resumed run gets the batches that it has not seen.

    Returns:
        A dataset of (`(batch, size, size, 3)` uint8, `(batch, num_classes)` float32).
    """
    set_up_decoding()  # Augmentation uses OpenCV.
    sizes = config.training_sizes
    batch_size, choose = _shuffle(rows, config)
    one_hot = np.eye(num_classes, dtype=np.float32)

    def make(step: np.ndarray) -> Batch:
        chosen, epoch = choose(int(step))
        size = sizes[min(epoch * len(sizes) // config.training.epochs, len(sizes) - 1)]
        seed = (config.run.seed, int(step), 1)
        return augment(read_rows(images, chosen), one_hot[labels[chosen]], size, seed, config.augment)

    # Progressive resizing (Tan & Le 2021, arXiv 2104.00298) trains on images of several sizes.
    side = sizes[0] if len(sizes) == 1 else None
    return _serve(tf.data.Dataset.counter(first_step), make, (batch_size, side, side, 3), num_classes, tf.uint8)


def build_feature_batches(
    features: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, config: Config, first_step: int = 0
) -> tf.data.Dataset:
    """Builds the same batches of cached features `(views, images, channels)` float32 of a frozen backbone.

    The views are the image and, if cached, its mirror image. A batch has a random view of each of its images.
    """
    views, _, channels = features.shape
    batch_size, choose = _shuffle(rows, config)
    one_hot = np.eye(num_classes, dtype=np.float32)

    def make(step: np.ndarray) -> Batch:
        chosen, _ = choose(int(step))
        view = np.random.default_rng((config.run.seed, int(step), 1)).integers(views, size=len(chosen))
        return features[view, chosen], one_hot[labels[chosen]]

    return _serve(tf.data.Dataset.counter(first_step), make, (batch_size, channels), num_classes, tf.float32)


def build_evaluation_batches(
    images: np.ndarray, rows: np.ndarray, batch_size: int, flip: bool = False
) -> tf.data.Dataset:
    """Builds batches of every image of `rows` once, in order, or of its horizontal flip. The last may be smaller."""

    def load(chosen: tf.Tensor) -> tf.Tensor:
        pixels = tf.numpy_function(lambda rows: read_rows(images, rows), [chosen], tf.uint8)
        pixels.set_shape((None, *images.shape[1:]))
        return pixels[:, :, ::-1] if flip else pixels

    batches = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    return batches.map(load, tf.data.AUTOTUNE, deterministic=True).prefetch(PREFETCH)


def read_rows(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Reads rows `(n,)` int64 of a C-contiguous array. All rows of a memory map are requested from the disk at once.

    Reading them one at a time, as page faults, takes about a hundred times as long if they are not in memory. The pages
    stay in the page cache of the system, so a pack that is larger than the memory needs no more of it than a small one.
    """
    source = getattr(images, "_mmap", None)
    if isinstance(source, mmap.mmap) and hasattr(source, "madvise"):
        first = images.ctypes.data - np.frombuffer(source, np.uint8).ctypes.data
        for start in (first + rows * images.strides[0]).tolist():
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            source.madvise(mmap.MADV_WILLNEED, page, start - page + images.strides[0])
    return images[rows]


def _shuffle(rows: np.ndarray, config: Config) -> tuple[int, Callable[[int], tuple[np.ndarray, int]]]:
    """Returns the batch size, and a function that gives the rows and the epoch of a step, both counted from 0."""
    batch_size = min(config.training.batch_size, len(rows))
    steps = len(rows) // batch_size

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((config.run.seed, epoch, 0)).permutation(rows)

    def choose(step: int) -> tuple[np.ndarray, int]:
        epoch, position = divmod(step, steps)
        return order(epoch)[position * batch_size : (position + 1) * batch_size], epoch

    return batch_size, choose


def _serve(
    keys: tf.data.Dataset, make: Callable[[np.ndarray], Batch], shape: tuple, num_classes: int, dtype: tf.DType
) -> tf.data.Dataset:
    """Builds batches in parallel, in order and ahead of use. Pixels stay uint8: the model casts them on its device."""

    def load(key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, targets = tf.numpy_function(make, [key], (dtype, tf.float32))
        inputs.set_shape(shape)
        targets.set_shape((shape[0], num_classes))
        return inputs, targets

    return keys.map(load, tf.data.AUTOTUNE, deterministic=True).prefetch(PREFETCH)
