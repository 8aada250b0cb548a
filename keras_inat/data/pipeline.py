"""Batches for training and evaluation, as `tf.data` datasets."""

import functools
import math
import mmap

import numpy as np
import tensorflow as tf

from keras_inat.data.augment import Batch, augment
from keras_inat.data.decode import set_up_decoding
from keras_inat.settings.schema import Config

PREFETCH = 4


def build_training_batches(
    inputs: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, config: Config, first_step: int = 0
) -> tf.data.Dataset:
    """Builds endless shuffled batches of augmented images, or of features. Each is a pure function of seed and step.

    Every epoch is a new draw; see `draw_rows`. Images that do not fill the last batch are skipped in this epoch.

    Args:
        inputs: Images `(images, stored, stored, 3)` uint8, at least as large as `data.image_size`; may be a memory map.
            Or features `(views, images, channels)` float32 of a frozen backbone, of which a batch has random views.
        labels: `(images,)` int.
        rows: Indices of the images to train on.
        num_classes: The length of the one-hot labels.
        first_step: The step of the first batch, so that a resumed run gets the batches that it has not seen.

    Returns:
        A dataset of (`(batch, size, size, 3)` uint8 or `(batch, channels)` float32, `(batch, num_classes)` float32).
    """
    set_up_decoding()  # Augmentation uses OpenCV.
    are_features = inputs.ndim == 3
    sizes = config.training_sizes
    batch_size = min(config.training.batch_size, len(rows))
    steps_per_epoch = len(rows) // batch_size
    one_hot = np.eye(num_classes, dtype=np.float32)

    @functools.lru_cache(maxsize=2)
    def draw(epoch: int) -> np.ndarray:
        generator = np.random.default_rng((config.run.seed, epoch, 0))
        return draw_rows(rows, labels, config.training.sampling, steps_per_epoch * batch_size, generator)

    def make(step: np.ndarray) -> Batch:
        epoch, position = divmod(int(step), steps_per_epoch)
        chosen = draw(epoch)[position * batch_size : (position + 1) * batch_size]
        targets = one_hot[labels[chosen]]
        seed = (config.run.seed, int(step), 1)
        if are_features:
            views = np.random.default_rng(seed).integers(len(inputs), size=batch_size)
            return inputs[views, chosen], targets
        size = sizes[min(epoch * len(sizes) // config.training.epochs, len(sizes) - 1)]
        return augment(read_rows(inputs, chosen), targets, size, seed, config.augment)

    # Progressive resizing (Tan & Le 2021, arXiv 2104.00298) trains on images of several sizes.
    side = sizes[0] if len(sizes) == 1 else None
    shape = inputs.shape[2:] if are_features else (side, side, 3)

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Pixels stay uint8: the model casts them on its device.
        batch, targets = tf.numpy_function(make, [step], (inputs.dtype, tf.float32))
        batch.set_shape((batch_size, *shape))
        targets.set_shape((batch_size, num_classes))
        return batch, targets

    steps = tf.data.Dataset.counter(first_step)
    return steps.map(load, tf.data.AUTOTUNE, deterministic=True).prefetch(PREFETCH)


def draw_rows(
    rows: np.ndarray, labels: np.ndarray, sampling: str, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Draws the images of an epoch in random order.

    With `sampling` "shuffle", no image is drawn twice. With "balanced", the numbers of draws of two classes differ by
    one at most, and those of two images of a class as well.

    Args:
        rows: `(n,)` int, the indices to draw from.
        labels: `(images,)` int, the class of every index.
        sampling: The setting `training.sampling`.
        count: The number of draws. With "shuffle", at most `n`.
        generator: The source of the random numbers.

    Returns:
        `(count,)` int.
    """
    if sampling == "shuffle":
        return generator.permutation(rows)[:count]
    sorted_rows = rows[np.argsort(labels[rows], kind="stable")]
    first = np.unique(labels[sorted_rows], return_index=True)[1]
    classes = np.split(sorted_rows, first[1:])
    drawn = []
    for position, index in enumerate(generator.permutation(len(classes))):
        members = classes[index]
        quota = count // len(classes) + (position < count % len(classes))
        repeated = np.tile(members, (math.ceil(quota / len(members)), 1))
        drawn.append(generator.permuted(repeated, axis=1).ravel()[:quota])
    return generator.permutation(np.concatenate(drawn))


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
