"""Filters: the weights of the first layer, feature maps, and top activating patches with synthetic images."""

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inat.explain.activation_maximization import maximize_filters
from keras_inat.explain.networks import find_preactivation, find_spatial_activations, map_batches
from keras_inat.store.explanations import FilterExplanation, StageMaps

MAX_STAGES = 5
MAX_MAPS = 24  # of a stage
NUM_PROBES = 8


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


def compute_feature_maps(model: keras.Model, image: np.ndarray) -> list[StageMaps]:
    """Computes the feature maps of one image `(height, width, 3)` in [0, 255] at the stages of a network."""
    stages = find_stages(model)
    outputs = keras.Model(model.inputs, [layer.output for layer in stages])([image[None].astype(np.float32)])
    explained = []
    for layer, output in zip(stages, keras.tree.flatten(outputs), strict=True):
        maps = np.asarray(output[0], np.float32)
        order = np.argsort(-np.abs(maps).mean(axis=(0, 1)), kind="stable")
        chosen = np.sort(order[:MAX_MAPS])
        num_silent = int((np.ptp(maps, axis=(0, 1)) == 0).sum())
        explained.append(StageMaps(layer.name, len(order), num_silent, chosen, maps[..., chosen].astype(np.float16)))
    return explained


def explain_filters(
    model: keras.Model, images: np.ndarray, num_filters: int = 2, num_patches: int = 6
) -> list[FilterExplanation]:
    """Explains random filters that are active on at least one of `images` `(images, height, width, 3)` uint8.

    There are `num_filters` for each stage, or fewer if fewer are active, with `num_patches` each. It is a ValueError if
    no filter is active.
    """
    stages = find_stages(model)
    peaks = _find_peaks(model, stages, images)
    rng = np.random.default_rng(0)
    filters = []
    for stage, (_, _, activations) in enumerate(peaks):
        active = np.flatnonzero(activations.max(axis=0) > 0)
        filters += [(stage, int(channel)) for channel in np.sort(rng.permutation(active)[:num_filters])]
    if not filters:
        raise ValueError(f"no filter is active on any of {len(images):,} validation images")
    fields = measure_receptive_fields(keras.Model(model.inputs, [layer.output for layer in stages]))
    synthetic, reached = maximize_filters(model, stages, filters, fields)
    explanations = []
    for index, (stage, channel) in enumerate(filters):
        positions, preactivations, _ = (values[:, channel] for values in peaks[stage])
        best = np.argsort(-preactivations, kind="stable")[:num_patches]
        map_shape = stages[stage].output.shape[1:3]
        middle = (np.array(map_shape) // 2 + 0.5) / map_shape  # of the neuron that is maximized
        patches = []
        for row in best:
            center = (np.array(np.unravel_index(int(positions[row]), map_shape)) + 0.5) / map_shape
            patches.append(_cut_patch(images[row], center, fields[stage]))
        explanations.append(
            FilterExplanation(
                layer=stages[stage].name,
                filter=channel,
                synthetic=_cut_patch(synthetic[index].round().astype(np.uint8), middle, fields[stage]),
                reached=float(reached[index]),
                patches=np.stack(patches),
                preactivations=preactivations[best],
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
