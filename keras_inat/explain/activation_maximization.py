"""Activation maximization: synthetic images that maximize the activation of filters."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.activation_maximization import ActivationMaximization
from tf_keras_vis.activation_maximization.input_modifiers import Jitter
from tf_keras_vis.activation_maximization.regularizers import TotalVariation2D

from keras_inat.explain.activations import find_preactivation

NUM_STEPS = 32
STEP_SIZE = 7.0
TOTAL_VARIATION = 0.002


def maximize_filters(
    model: keras.Model,
    layers: list[Any],
    filters: list[tuple[int, int]],
    scales: np.ndarray,
    image_shape: tuple[int, ...],
    seed: int = 0,
) -> np.ndarray:
    """Maximizes the mean activation of filters by gradient ascent from noise: Erhan et al. 2009.

    If the activation function is a layer of its own, its input is maximized instead, because an inactive neuron has no
    gradient.

    Args:
        model: A functional model with one image as its input.
        layers: Activation layers of the model.
        filters: Index into `layers` and channel of each filter.
        scales: `(filters,)` float, a high activation of each filter. It balances the score against the total variation.
        image_shape: `(height, width, 3)` of the images.
        seed: Determines the noise.

    Returns:
        `(filters, height, width, 3)` float32 in [0, 255].
    """
    tensors = [find_preactivation(layer) for layer in layers]
    maximized = keras.Model(model.inputs, tensors)
    # tf-keras-vis runs a model eagerly, which takes five times as long.
    maximized.call = tf.function(maximized.call, reduce_retracing=True)
    weights = [np.zeros((len(filters), 1, 1, tensor.shape[-1]), np.float32) for tensor in tensors]
    for row, (index, channel) in enumerate(filters):
        weights[index][row, ..., channel] = 1 / scales[row]
    noise = np.random.default_rng(seed).normal(128, 12, (len(filters), *image_shape)).astype(np.float32)
    images = ActivationMaximization(maximized, clone=False)(
        [_weigh_channels(channels) for channels in weights],
        seed_input=tf.constant(noise),
        input_modifiers=[Jitter(2)],
        regularizers=[TotalVariation2D(TOTAL_VARIATION)],
        steps=NUM_STEPS,
        # Plain gradient steps: after a jitter, the moments of an optimizer would belong to other pixels.
        optimizer=keras.optimizers.SGD(STEP_SIZE),
        gradient_modifier=_normalize,
    )
    return np.asarray(images, dtype=np.float32)


def _weigh_channels(weights: np.ndarray) -> Callable[[Any], Any]:
    """Returns a score: the weighted sum over channels of the mean over positions."""
    return lambda output: tf.reduce_sum(tf.reduce_mean(output * weights, axis=(1, 2)), axis=-1)


def _normalize(gradient: Any) -> Any:
    """Scales the gradient of each image to a root mean square of 1, so that all steps have the same size."""
    return gradient * tf.math.rsqrt(tf.reduce_mean(gradient**2, (1, 2, 3), keepdims=True) + 1e-24)
