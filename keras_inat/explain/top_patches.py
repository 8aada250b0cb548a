"""Filters of all stages: their receptive fields, top activating patches and images from activation maximization."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.activation_maximization import ActivationMaximization
from tf_keras_vis.activation_maximization.input_modifiers import Jitter
from tf_keras_vis.activation_maximization.regularizers import TotalVariation2D

from keras_inat.explain.activations import find_preactivation
from keras_inat.explain.batches import run_batches
from keras_inat.explain.filters import find_stages

NUM_PROBES = 8
NUM_STEPS = 32
STEP_SIZE = 7.0
TOTAL_VARIATION = 0.002


@dataclass(frozen=True)
class FilterExplanation:
    """A filter with its synthetic image and its top activating patches."""

    layer: str  # name of the layer
    filter: int  # index along the layer's channels
    receptive_field: int  # side in pixels of the receptive field, and of the pictures
    synthetic: np.ndarray  # `(side, side, 3)` float32 in [0, 255], the result of activation maximization
    patches: np.ndarray  # `(patches, side, side, 3)`, each of a different image, the highest activation first
    images: tuple[int, ...]  # index of the image of each patch
    activations: np.ndarray  # `(patches,)` float32


@dataclass(frozen=True)
class Peaks:
    """The peaks of a layer's feature maps, each array `(images, filters)`."""

    positions: np.ndarray  # row times number of columns plus column
    preactivations: np.ndarray  # the highest preactivation of each feature map
    activations: np.ndarray  # the activation at the same position


def explain_filters(
    model: keras.Model, images: np.ndarray, num_filters: int = 2, num_patches: int = 6
) -> list[FilterExplanation]:
    """Explains random filters of every stage that are active on at least one image, see `find_stages`.

    Args:
        model: A functional model with one image as its input. It is unchanged.
        images: `(images, height, width, 3)` in [0, 255].
        num_filters: Number of filters per stage. There are fewer if fewer are active.
        num_patches: Number of patches per filter.
    """
    stages = find_stages(model)
    peaks = _find_peaks(model, stages, images)
    rng = np.random.default_rng(0)
    filters = []
    for stage, peak in enumerate(peaks):
        active = np.flatnonzero(peak.activations.max(axis=0) > 0)
        filters += [(stage, int(channel)) for channel in np.sort(rng.permutation(active)[:num_filters])]
    if not filters:
        return []
    scales = [float(peaks[stage].activations[:, channel].max()) for stage, channel in filters]
    fields = measure_receptive_fields(keras.Model(model.inputs, [layer.output for layer in stages]))
    synthetic = maximize_filters(model, stages, filters, scales)
    explanations = []
    for (stage, channel), picture in zip(filters, synthetic, strict=True):
        best = np.argsort(-peaks[stage].preactivations[:, channel], kind="stable")[:num_patches]
        map_shape = stages[stage].output.shape[1:3]
        rows, columns = np.unravel_index(peaks[stage].positions[best, channel], map_shape)
        centers = (np.stack([rows, columns], axis=1) + 0.5) / map_shape
        patches = [
            _cut_patch(images[index], center, fields[stage]) for index, center in zip(best, centers, strict=True)
        ]
        explanations.append(
            FilterExplanation(
                layer=stages[stage].name,
                filter=channel,
                receptive_field=fields[stage],
                synthetic=_cut_patch(picture, np.array([0.5, 0.5]), fields[stage]),
                patches=np.stack(patches),
                images=tuple(best.tolist()),
                activations=peaks[stage].activations[best, channel],
            )
        )
    return explanations


def measure_receptive_fields(model: keras.Model) -> list[int]:
    """Measures the receptive field of the middle neurons of each output of a model from `[images]`.

    The field consists of the pixels with a gradient on any of several noise images. It is never larger than the image.
    Its size is the side in pixels of a square that contains it.
    """
    height, width = model.inputs[0].shape[1:3]
    noise = np.random.default_rng(0).uniform(0, 255, (NUM_PROBES, height, width, 3))
    probes = tf.constant(noise, dtype=tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(probes)
        sums = []
        for output in keras.tree.flatten(model([probes], training=False)):
            middle = output[:, output.shape[1] // 2, output.shape[2] // 2]
            # Without random signs, the sum over the channels of a normalized layer could be constant.
            signs = np.where(np.random.default_rng(1).random(middle.shape[-1]) < 0.5, -1.0, 1.0)
            sums.append(tf.reduce_sum(middle * tf.cast(signs, middle.dtype)))
    sides = []
    for value in sums:
        field = np.argwhere(tape.gradient(value, probes).numpy().any(axis=(0, 3)))
        extent = int(np.ptp(field, axis=0).max()) + 1 if len(field) else 1
        sides.append(min(extent, height, width))
    return sides


def maximize_filters(
    model: keras.Model, layers: list[Any], filters: list[tuple[int, int]], scales: list[float]
) -> np.ndarray:
    """Maximizes the mean activation of filters by gradient ascent from noise: Erhan et al. 2009.

    If the activation function is a layer of its own, its input is maximized instead, because an inactive neuron has no
    gradient. A filter is given by an index into `layers` and a channel. Its scale, a high activation, balances the
    score against the total variation. The result is `(filters, height, width, 3)` float32 in [0, 255].
    """
    tensors = [find_preactivation(layer) for layer in layers]
    maximized = keras.Model(model.inputs, tensors)
    # tf-keras-vis runs a model eagerly, which takes five times as long.
    maximized.call = tf.function(maximized.call, reduce_retracing=True)
    weights = [np.zeros((len(filters), 1, 1, tensor.shape[-1]), np.float32) for tensor in tensors]
    for row, (index, channel) in enumerate(filters):
        weights[index][row, ..., channel] = 1 / scales[row]
    noise = np.random.default_rng(0).normal(128, 12, (len(filters), *model.inputs[0].shape[1:]))
    images = ActivationMaximization(maximized, clone=False)(
        [_weigh_channels(channels) for channels in weights],
        seed_input=tf.constant(noise, dtype=tf.float32),
        input_modifiers=[Jitter(2)],
        regularizers=[TotalVariation2D(TOTAL_VARIATION)],
        steps=NUM_STEPS,
        # Plain gradient steps: after a jitter, the moments of an optimizer would belong to other pixels.
        optimizer=keras.optimizers.SGD(STEP_SIZE),
        gradient_modifier=_normalize,
    )
    return np.asarray(images, dtype=np.float32)


def _find_peaks(model: keras.Model, stages: list[Any], images: np.ndarray) -> list[Peaks]:
    """Finds the peak of every feature map of every stage, for each image."""
    tensors = [*(find_preactivation(layer) for layer in stages), *(layer.output for layer in stages)]
    batches: list[list[tuple[np.ndarray, ...]]] = [[] for _ in stages]
    for outputs in run_batches(keras.Model(model.inputs, tensors), images):
        for stage in range(len(stages)):
            preactivations = outputs[stage].reshape(len(outputs[stage]), -1, outputs[stage].shape[-1])
            activations = outputs[len(stages) + stage].reshape(preactivations.shape)
            positions = preactivations.argmax(axis=1)[:, None]
            peaks = [np.take_along_axis(values, positions, axis=1)[:, 0] for values in (preactivations, activations)]
            batches[stage].append((positions[:, 0], *peaks))
    return [Peaks(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True))) for rows in batches]


def _cut_patch(image: np.ndarray, center: np.ndarray, side: int) -> np.ndarray:
    """Cuts a square around a center, given as fractions of height and width. At the border it moves inward."""
    size = np.array(image.shape[:2])
    top, left = np.clip(np.round(center * size - side / 2), 0, size - side).astype(int)
    return image[top : top + side, left : left + side]


def _weigh_channels(weights: np.ndarray) -> Callable[[Any], Any]:
    """Returns a score: the weighted sum over channels of the mean over positions."""
    return lambda output: tf.reduce_sum(tf.reduce_mean(output * weights, axis=(1, 2)), axis=-1)


def _normalize(gradient: Any) -> Any:
    """Scales the gradient of each image to a root mean square of 1, so that all steps have the same size."""
    return gradient * tf.math.rsqrt(tf.reduce_mean(gradient**2, (1, 2, 3), keepdims=True) + 1e-24)
