"""Batches for training and for evaluation, as `tf.data`."""

import functools
import mmap
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_inat.data.augment import augment
from keras_inat.settings.schema import Config

PREFETCH = 4


def build_training_batches(
    images: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, config: Config, first_step: int = 0
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches; each is a pure function of `run.seed` and its step.

    Every epoch is a new permutation. The images that do not fill its last batch are left out of it, others each time.

    Args:
        images: `(images, stored, stored, 3)` uint8, at least as large as `data.image_size`; a memory map is read only
            where needed.
        labels: `(images,)` int.
        rows: Indices of the images to train on.
        num_classes: Length of the one-hot labels.
        config: Gives batch size, image sizes, augmentation and seed.
        first_step: Where to begin, so that a resumed run goes on with the batches it has not seen.

    Returns:
        A dataset of (`(batch, size, size, 3)` uint8, `(batch, num_classes)` float32).
    """
    seed, sizes, passes = config.run.seed, config.training_sizes, count_passes(config, len(rows))
    num_epochs = config.training.epochs * passes

    def change(chosen: np.ndarray, targets: np.ndarray, step: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        size = sizes[min(epoch * len(sizes) // num_epochs, len(sizes) - 1)]
        return augment(read_rows(images, chosen), targets, size, (seed, step, 1), config.augment)

    # Progressive resizing (Tan & Le 2021, arXiv 2104.00298) has images of several sides.
    side = sizes[0] if len(sizes) == 1 else None
    return _serve_shuffled(labels, rows, num_classes, config, first_step, change, (side, side, 3), tf.uint8)


def build_feature_batches(
    features: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, config: Config, first_step: int = 0
) -> tf.data.Dataset:
    """The same batches of what a frozen backbone makes of the images: of each image one of its views, at random.

    Args:
        features: `(views, images, channels)` float32.

    Returns:
        A dataset of (`(batch, channels)` float32, `(batch, num_classes)` float32).
    """
    views, _, channels = features.shape

    def change(chosen: np.ndarray, targets: np.ndarray, step: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        view = np.random.default_rng((config.run.seed, step, 1)).integers(views, size=len(chosen))
        return features[view, chosen], targets

    return _serve_shuffled(labels, rows, num_classes, config, first_step, change, (channels,), tf.float32)


def count_passes(config: Config, num_images: int) -> int:
    """Passes over so many training images in an epoch: more than one where `training.min_steps` asks for it."""
    steps = num_images // min(config.training.batch_size, num_images) * config.training.epochs
    return max(1, -(-config.training.min_steps // steps))


def flip_batches(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches with every image mirrored left to right."""
    return batches.map(lambda pixels, targets: (pixels[:, :, ::-1], targets))


def build_evaluation_batches(
    images: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, batch_size: int
) -> tf.data.Dataset:
    """Every image of `rows` once, in order, the last batch as short as it comes; dtypes and shapes as in training."""
    one_hot = np.eye(num_classes, dtype=np.float32)

    def make(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return read_rows(images, chosen), one_hot[labels[chosen]]

    parts = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    return _serve(parts, make, (None, *images.shape[1:]), (None, num_classes), tf.uint8)


def read_rows(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Copies rows of an array, those of a memory map asked of the disk all at once.

    Met one after the other, as page faults, rows that are not in memory take some hundred times as long. What is read
    stays with the system to share and to drop: a pack larger than memory costs no more of it than a small one.

    Args:
        images: `(images, size, size, 3)` uint8, C-contiguous; a memory map or not.
        rows: `(n,)` int64.

    Returns:
        `(n, size, size, 3)` uint8.
    """
    source = getattr(images, "_mmap", None)
    if isinstance(source, mmap.mmap) and hasattr(source, "madvise"):
        first = images.ctypes.data - np.frombuffer(source, np.uint8).ctypes.data
        for start in (first + rows * images.strides[0]).tolist():
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            source.madvise(mmap.MADV_WILLNEED, page, start - page + images.strides[0])
    return images[rows]


def _serve_shuffled(
    labels: np.ndarray,
    rows: np.ndarray,
    num_classes: int,
    config: Config,
    first_step: int,
    change: Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]],
    shape: tuple[int | None, ...],
    dtype: tf.DType,
) -> tf.data.Dataset:
    """Batches of shuffled rows and their labels, as `change` makes them of rows, targets, step and pass."""
    batch_size = min(config.training.batch_size, len(rows))
    steps, one_hot = len(rows) // batch_size, np.eye(num_classes, dtype=np.float32)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((config.run.seed, epoch, 0)).permutation(rows)

    def make(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epoch, position = divmod(int(step), steps)
        chosen = order(epoch)[position * batch_size : (position + 1) * batch_size]
        return change(chosen, one_hot[labels[chosen]], int(step), epoch)

    return _serve(tf.data.Dataset.counter(first_step), make, (batch_size, *shape), (batch_size, num_classes), dtype)


def _serve(
    keys: tf.data.Dataset,
    make: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    shape: tuple[int | None, ...],
    label_shape: tuple[int | None, ...],
    dtype: tf.DType,
) -> tf.data.Dataset:
    """Batches made in parallel, ahead of their use, in order. Pixels stay uint8: the model casts them, where it is."""

    def load(key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, targets = tf.numpy_function(make, [key], (dtype, tf.float32))
        inputs.set_shape(shape)
        targets.set_shape(label_shape)
        return inputs, targets

    return keys.map(load, tf.data.AUTOTUNE, deterministic=True).prefetch(PREFETCH)
