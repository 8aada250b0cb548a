"""Activation maximization: synthetic images that maximize neurons, by gradient ascent (Erhan et al. 2009).

An image is given by its spectrum, with amplitudes that fall with the frequency as those of photographs do, and in
colors that are uncorrelated in photographs (Olah et al. 2017, Feature Visualization, doi.org/10.23915/distill.00007).
So low frequencies are found as easily as high ones, and the result resembles a picture instead of noise.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.activation_maximization import ActivationMaximization

from keras_inat.explain.networks import find_preactivation

NUM_STEPS = 64
LEARNING_RATE = 0.1
# A component that is small beside the root mean square of an image's gradient, 1, takes small steps. Without this,
# Adam enlarged noise in the colors, and a gray edge reached 78 to 89 % of its maximum.
EPSILON = 0.3
NOISE = 0.01  # standard deviation of the first spectrum
# The largest change of the image in a step, which becomes smaller until the last one. A shift is a fraction of the
# image's side, an angle is in radians.
SHIFT = 0.03
SCALE = 0.05
ANGLE = 0.09
# The principal components of the colors of photographs, `(RGB, components)`, from the authors' program Lucid. There the
# second and third are 4 and 8 times smaller, with which a filter of opposite colors reached only 73 % of its maximum.
COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)
COLORS /= np.linalg.norm(COLORS, axis=0)


def maximize_filters(
    model: keras.Model, layers: list[Any], filters: list[tuple[int, int]], fields: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Maximizes the preactivations of the middle neurons of filters.

    A filter is given by an index into `layers` and a channel, and has a receptive field with a side in pixels. Returns
    the images `(filters, height, width, 3)` float32 in [0, 255] and the preactivations `(filters,)` float32.
    """
    shape = model.inputs[0].shape[1:3]
    middles = []
    for layer in layers:
        values = find_preactivation(layer)
        middles.append(values[:, values.shape[1] // 2, values.shape[2] // 2])
    starts = np.cumsum([0, *(middle.shape[1] for middle in middles)])
    columns = [int(starts[index]) + channel for index, channel in filters]
    neurons = keras.Model(model.inputs, keras.ops.concatenate(middles, axis=1))
    spectrum = keras.Input((3, shape[0], shape[1] // 2 + 1, 2))
    picture = SpectrumToImage(shape)
    shake = Shake(np.array([fields[index] for index, _ in filters], np.float32))
    maximized = keras.Model([spectrum], neurons(shake(picture(spectrum)), training=False))
    # tf-keras-vis runs a model eagerly, which takes five times as long.
    maximized.call = tf.function(maximized.call, reduce_retracing=True)
    seed = np.random.default_rng(0).normal(0, NOISE, (len(filters), *spectrum.shape[1:]))
    found = ActivationMaximization(maximized, clone=False)(
        lambda outputs: tf.gather(outputs, columns, batch_dims=1),
        seed_input=tf.constant(seed, tf.float32),
        input_range=None,
        input_modifiers=[],
        regularizers=[[]],
        steps=NUM_STEPS,
        optimizer=keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON),
        gradient_modifier=_normalize,
    )
    images = picture(tf.constant(found, tf.float32))
    reached = np.asarray(neurons([images], training=False), np.float32)[np.arange(len(filters)), columns]
    return np.asarray(images, np.float32), reached


def _normalize(gradients: tf.Tensor) -> tf.Tensor:
    """Divides the gradient of each image by its root mean square."""
    square = tf.reduce_mean(gradients**2, axis=list(range(1, gradients.shape.rank)), keepdims=True)
    return gradients / tf.sqrt(tf.maximum(square, 1e-20))


class SpectrumToImage(keras.layers.Layer):
    """Computes images `(batch, height, width, 3)` in [0, 255] of spectra `(batch, 3, height, width // 2 + 1, 2)`."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.size = shape
        frequencies = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
        scale = np.sqrt(shape[0] * shape[1]) / np.maximum(frequencies, 1 / max(shape))
        self.amplitudes = tf.constant(scale / 4, tf.complex64)

    def call(self, spectra: tf.Tensor) -> tf.Tensor:
        values = tf.complex(spectra[..., 0], spectra[..., 1]) * self.amplitudes
        components = tf.transpose(tf.signal.irfft2d(values, self.size), (0, 2, 3, 1))
        return 255 * tf.sigmoid(tf.tensordot(components, COLORS, [[3], [1]]))


class Shake(keras.layers.Layer):
    """Shifts, scales and rotates images at random, less with each step, so that the result does not depend on pixels.

    A receptive field `(images,)`, with a side in pixels, shifts by a fraction of its side.
    """

    def __init__(self, fields: np.ndarray) -> None:
        super().__init__()
        self.shifts = tf.constant(SHIFT * fields)
        self.random = tf.random.Generator.from_seed(0)
        self.step = tf.Variable(0.0, trainable=False)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        strength = tf.maximum(0.0, 1 - self.step.assign_add(1.0) / (0.8 * NUM_STEPS))
        down, right, scale, angle = tf.unstack(strength * self.random.uniform((4, len(self.shifts)), -1.0, 1.0))
        factor = 1 + SCALE * scale
        cos = factor * tf.cos(ANGLE * angle)
        sin = factor * tf.sin(ANGLE * angle)
        # The center of the middle neuron's field stays in place, apart from the shift.
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        y, x = tf.unstack(size / 2)
        left = x - cos * x + sin * y + self.shifts * right
        top = y - sin * x - cos * y + self.shifts * down
        zero = tf.zeros_like(cos)
        transforms = tf.stack([cos, -sin, left, sin, cos, top, zero, zero], axis=1)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images, transforms=transforms, output_shape=tf.shape(images)[1:3], fill_value=0.0,
            interpolation="BILINEAR", fill_mode="REFLECT",
        )  # fmt: skip
