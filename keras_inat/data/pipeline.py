"""Batches for training and for evaluation, as `tf.data`."""

import functools

import numpy as np
import tensorflow as tf

from keras_inat.config import Config
from keras_inat.data.augment import augment


def build_training_batches(
    images: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, config: Config, first_step: int = 0
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches; each is a pure function of `run.seed` and its step.

    Every epoch is a new permutation. The images that do not fill its last batch are left out of it, others each time.

    Args:
        images: `(images, size, size, 3)` uint8; a memory map is read only where needed.
        labels: `(images,)` int.
        rows: Indices of the images to train on.
        num_classes: Length of the one-hot labels.
        config: Gives batch size, augmentation and seed.
        first_step: Where to begin, so that a resumed run goes on with the batches it has not seen.

    Returns:
        A dataset of (`(batch, size, size, 3)` float32 in [0, 255], `(batch, num_classes)` float32).
    """
    batch_size = min(config.training.batch_size, len(rows))
    steps, seed, size = len(rows) // batch_size, config.run.seed, images.shape[1]

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(rows)

    def fetch(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epoch, position = divmod(int(step), steps)
        chosen = order(epoch)[position * batch_size : (position + 1) * batch_size]
        return images[chosen], labels[chosen].astype(np.int64)

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels, targets = tf.numpy_function(fetch, [step], (tf.uint8, tf.int64))
        pixels.set_shape((batch_size, size, size, 3))
        targets.set_shape((batch_size,))
        return step, pixels, targets

    def prepare(step: tf.Tensor, pixels: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = augment(tf.cast(pixels, tf.float32), tf.stack([tf.constant(seed, tf.int64), step]), config.augment)
        return pixels, tf.one_hot(targets, num_classes)

    batches = tf.data.Dataset.counter(first_step).map(load).map(prepare, tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(2)


def build_evaluation_batches(
    images: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int, batch_size: int
) -> tf.data.Dataset:
    """Every image of `rows` once, in order, the last batch as short as it comes; shapes as in training."""
    size = images.shape[1]

    def load(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, targets = tf.numpy_function(
            lambda index: (images[index], labels[index].astype(np.int64)), [chosen], (tf.uint8, tf.int64)
        )
        pixels.set_shape((None, size, size, 3))
        targets.set_shape((None,))
        return tf.cast(pixels, tf.float32), tf.one_hot(targets, num_classes)

    return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size).map(load).prefetch(2)
