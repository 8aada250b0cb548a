"""Random changes to a batch of images, each a pure function of the batch and a seed."""

import math

import tensorflow as tf

from keras_inat.config import Augment


def augment(images: tf.Tensor, seed: tf.Tensor, config: Augment) -> tf.Tensor:
    """Changes every image of a batch on its own, as `config` says.

    Args:
        images: `(batch, size, size, 3)` float32 in [0, 255].
        seed: `(2,)` int64; the same seed gives the same changes.
        config: What may change, and by how much.

    Returns:
        Images of the same shape, dtype and range.
    """
    if config.flip or config.crop < 1 or config.rotation:
        images = _move(images, seed, config)
    if config.color:
        images = _recolor(images, seed, config.color)
    return images


def _uniform(images: tf.Tensor, seed: tf.Tensor, salt: int, low: float, high: float) -> tf.Tensor:
    """One draw an image, independent between salts."""
    # Kept below 2**31: the kernels take any int64, the salt only has to separate the draws.
    return tf.random.stateless_uniform([tf.shape(images)[0]], seed + tf.constant([salt << 20, 0], tf.int64), low, high)


def _move(images: tf.Tensor, seed: tf.Tensor, config: Augment) -> tf.Tensor:
    """Mirror, random resized crop (Szegedy et al. 2015, arXiv 1409.4842) and rotation, in one interpolation."""
    size = tf.cast(tf.shape(images)[1], tf.float32)
    area = _uniform(images, seed, 1, config.crop, 1.0)
    widest = math.log(4 / 3) if config.crop < 1 else 0.0
    aspect = tf.exp(_uniform(images, seed, 2, -widest, widest) if widest else tf.zeros_like(area))
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    shift_x = _uniform(images, seed, 3, -0.5, 0.5) * (1 - width) * size
    shift_y = _uniform(images, seed, 4, -0.5, 0.5) * (1 - height) * size
    angle = _uniform(images, seed, 5, -1.0, 1.0) * (config.rotation * math.pi / 180)
    mirror = tf.where(_uniform(images, seed, 6, 0.0, 1.0) < 0.5, -1.0, 1.0) if config.flip else tf.ones_like(area)
    # A pixel of the output, measured from the centre, is looked up at R(angle) . diag(mirror * width, height) of it.
    a, b = tf.cos(angle) * width * mirror, -tf.sin(angle) * height
    c, d = tf.sin(angle) * width * mirror, tf.cos(angle) * height
    centre = (size - 1) / 2
    zero = tf.zeros_like(area)
    transform = [a, b, centre + shift_x - (a + b) * centre, c, d, centre + shift_y - (c + d) * centre, zero, zero]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(transform, axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def _recolor(images: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Brightness, contrast and saturation, each scaled by its own factor in 1 - strength ... 1 + strength."""
    brightness, contrast, saturation = (
        _uniform(images, seed, salt, 1 - strength, 1 + strength)[:, None, None, None] for salt in (7, 8, 9)
    )
    images = images * brightness
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    images = (images - mean) * contrast + mean
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    return tf.clip_by_value((images - grey) * saturation + grey, 0.0, 255.0)
