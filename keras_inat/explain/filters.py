"""Filters: the weights of the first layer, feature maps, top activating patches and activation maximization."""

import re
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.activation_maximization import ActivationMaximization
from tf_keras_vis.activation_maximization.input_modifiers import Jitter
from tf_keras_vis.activation_maximization.regularizers import TotalVariation2D

from keras_inat.explain.networks import find_preactivation, find_spatial_activations, map_batches

MAX_STAGES = 5
NUM_PROBES = 8
NUM_STEPS = 32
STEP_SIZE = 7.0
TOTAL_VARIATION = 0.002


@dataclass(frozen=True)
class FilterExplanation:
    """A filter with its synthetic image and its top activating patches."""

    layer: str
    filter: int  # index along the layer's channels
    # Both are as large as the filter's receptive field.
    synthetic: np.ndarray  # `(side, side, 3)` float32 in [0, 255], the result of activation maximization
    patches: np.ndarray  # `(patches, side, side, 3)`, each of a different image, the highest activation first
    activations: np.ndarray  # `(patches,)` float32


def read_first_layer_filters(model: keras.Model) -> np.ndarray:
    """Returns the kernels of the first convolution with color input, `(filters, height, width, 3)` float32, as RGB.

    Nested models are searched too. It is a ValueError if no convolution has three input channels.
    """
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] == 3:
            filters = layer.kernel.numpy().transpose(3, 0, 1, 2)
            # ResNet50 and VGG16 expect blue first, so their models begin with a flip of the channels.
            flipped = any(type(operation).__name__ == "Flip" for operation in model.operations)
            return filters[..., ::-1] if flipped else filters
    raise ValueError(f"the model {model.name!r} has no convolution with 3 input channels, so it has no filters to show")


def count_filter_types(filters: np.ndarray) -> dict[str, int]:
    """Counts filters `(filters, height, width, 3)` by the type of pattern that holds most of their energy.

    The energy of a filter, its squared weights, is the sum of four components: brightness (its mean over positions and
    channels), color (differences of channels, the same at all positions), luminance edges (differences of positions,
    the same in all channels) and color edges (the rest). Filters without weights are not counted. The most frequent
    type comes first.
    """
    size = filters.shape[1] * filters.shape[2]
    by_channel = filters.mean(axis=(1, 2))
    by_position = filters.mean(axis=3)
    mean = by_channel.mean(axis=1)
    energies = {
        "brightness": 3 * size * mean**2,
        "color": size * ((by_channel - mean[:, None]) ** 2).sum(axis=1),
        "luminance edges": 3 * ((by_position - mean[:, None, None]) ** 2).sum(axis=(1, 2)),
    }
    energies["color edges"] = (filters**2).sum(axis=(1, 2, 3)) - sum(energies.values())
    table = np.stack(list(energies.values()), axis=1)
    largest = table[table.max(axis=1) > 0].argmax(axis=1)
    counts = {name: int((largest == number).sum()) for number, name in enumerate(energies)}
    return {name: count for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count}


def find_stages(model: keras.Model) -> list[Any]:
    """Returns the last activation layer of each stage of a network, first to last.

    The stages of our CNN are its blocks; of an ensemble, those of its first network. The stages of other networks are
    the last five resolutions.
    """
    blocks = {}
    resolutions = {}
    for layer in find_spatial_activations(model):
        # Later layers of the same block or resolution replace earlier ones.
        resolutions[layer.output.shape[1:3]] = layer
        if block := re.fullmatch(r"block(\d+)_activation\d*", layer.name):
            blocks[block[1]] = layer
    return list(blocks.values()) or list(resolutions.values())[-MAX_STAGES:]


def compute_feature_maps(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the feature maps of one image `(height, width, 3)` in [0, 255] at the stages of a network.

    They are `(rows, columns, filters)` float32 by layer name, first to last.
    """
    stages = {layer.name: layer.output for layer in find_stages(model)}
    maps = keras.Model(model.inputs, stages)([image[None].astype(np.float32)], training=False)
    return {name: np.asarray(maps[name][0], np.float32) for name in stages}


def explain_filters(
    model: keras.Model, images: np.ndarray, num_filters: int = 2, num_patches: int = 6
) -> list[FilterExplanation]:
    """Explains random filters that are active on at least one of `images` `(images, height, width, 3)` in [0, 255].

    There are `num_filters` for each stage, or fewer if fewer are active, with `num_patches` each.
    """
    stages = find_stages(model)
    peaks = _find_peaks(model, stages, images)
    rng = np.random.default_rng(0)
    filters = []
    for stage, (_, _, activations) in enumerate(peaks):
        active = np.flatnonzero(activations.max(axis=0) > 0)
        filters += [(stage, int(channel)) for channel in np.sort(rng.permutation(active)[:num_filters])]
    if not filters:
        return []
    scales = [float(peaks[stage][2][:, channel].max()) for stage, channel in filters]
    fields = measure_receptive_fields(keras.Model(model.inputs, [layer.output for layer in stages]))
    synthetic = maximize_filters(model, stages, filters, scales)
    explanations = []
    for (stage, channel), picture in zip(filters, synthetic, strict=True):
        positions, preactivations, activations = (values[:, channel] for values in peaks[stage])
        best = np.argsort(-preactivations, kind="stable")[:num_patches]
        map_shape = stages[stage].output.shape[1:3]
        patches = []
        for index in best:
            center = (np.array(np.unravel_index(int(positions[index]), map_shape)) + 0.5) / map_shape
            patches.append(_cut_patch(images[index], center, fields[stage]))
        explanations.append(
            FilterExplanation(
                layer=stages[stage].name,
                filter=channel,
                synthetic=_cut_patch(picture, np.array([0.5, 0.5]), fields[stage]),
                patches=np.stack(patches),
                activations=activations[best],
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
    means = [keras.ops.mean(find_preactivation(layer), axis=(1, 2)) for layer in layers]
    maximized = keras.Model(model.inputs, keras.ops.concatenate(means, axis=1))
    # tf-keras-vis runs a model eagerly, which takes five times as long.
    maximized.call = tf.function(maximized.call, reduce_retracing=True)
    starts = np.cumsum([0, *(mean.shape[1] for mean in means)])
    columns = [int(starts[index]) + channel for index, channel in filters]
    noise = np.random.default_rng(0).normal(128, 12, (len(filters), *model.inputs[0].shape[1:]))
    images = ActivationMaximization(maximized, clone=False)(
        lambda outputs: tf.gather(outputs, columns, batch_dims=1) / tf.constant(scales, outputs.dtype),
        seed_input=tf.constant(noise, dtype=tf.float32),
        input_modifiers=[Jitter(2)],
        regularizers=[TotalVariation2D(TOTAL_VARIATION)],
        steps=NUM_STEPS,
        # Plain gradient steps: after a jitter, the moments of an optimizer would belong to other pixels.
        optimizer=keras.optimizers.SGD(STEP_SIZE),
        gradient_modifier=_normalize,
    )
    return np.asarray(images, dtype=np.float32)


def _find_peaks(model: keras.Model, stages: list[Any], images: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Finds the highest preactivation of every filter of every stage, for each image.

    Each stage has three arrays `(images, filters)`: positions (row times number of columns plus column), and the
    preactivations and activations there.
    """
    both = keras.Model(model.inputs, {layer.name: (find_preactivation(layer), layer.output) for layer in stages})
    run = tf.function(lambda batch: both([batch], training=False), reduce_retracing=True)

    def find_peaks(batch: tf.Tensor) -> list[tuple[np.ndarray, ...]]:
        outputs = run(batch)
        peaks = []
        for layer in stages:
            values = [
                np.asarray(maps, np.float32).reshape(len(batch), -1, maps.shape[-1]) for maps in outputs[layer.name]
            ]
            positions = values[0].argmax(axis=1)[:, None]
            peaks.append((positions[:, 0], *(np.take_along_axis(maps, positions, axis=1)[:, 0] for maps in values)))
        return peaks

    return map_batches(find_peaks, images)


def _cut_patch(image: np.ndarray, center: np.ndarray, side: int) -> np.ndarray:
    """Cuts a square around a center, given as fractions of height and width. At the border it moves inward."""
    size = np.array(image.shape[:2])
    top, left = np.clip(np.round(center * size - side / 2), 0, size - side).astype(int)
    return image[top : top + side, left : left + side]


def _normalize(gradient: Any) -> Any:
    """Scales the gradient of each image to a root mean square of 1, so that all steps have the same size."""
    return gradient * tf.math.rsqrt(tf.reduce_mean(gradient**2, (1, 2, 3), keepdims=True) + 1e-24)
