"""Receptive fields of neurons."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

NUM_PROBES = 8


def measure_receptive_fields(model: keras.Model) -> list[int]:
    """Measures the receptive field of the middle neurons of each output of a model.

    The field consists of the pixels with a gradient on any of several noise images. It is never larger than the image.

    Returns:
        Side in pixels of the square that contains the field, for each output.
    """
    model = keras.Model(model.inputs, model.outputs)
    height, width = model.inputs[0].shape[1:3]
    noise = np.random.default_rng(0).uniform(0, 255, (NUM_PROBES, height, width, 3)).astype(np.float32)
    with tf.GradientTape(persistent=True) as tape:
        probes = tf.constant(noise)
        tape.watch(probes)
        outputs = keras.tree.flatten(model([probes], training=False))
        sums = [_sum_middle(output) for output in outputs]
    sides = []
    for value in sums:
        field = np.abs(tape.gradient(value, probes).numpy()).max(axis=(0, 3)) > 0
        extent = max(_measure_extent(field.any(axis=1)), _measure_extent(field.any(axis=0)))
        sides.append(min(extent, height, width))
    return sides


def _sum_middle(output: Any) -> Any:
    """Sums the middle neurons over the channels with random signs.

    Without the signs, the sum over the channels of a normalized layer could be constant.
    """
    middle = output[:, output.shape[1] // 2, output.shape[2] // 2]
    signs = np.where(np.random.default_rng(1).random(middle.shape[-1]) < 0.5, -1.0, 1.0)
    return tf.reduce_sum(middle * tf.cast(signs, middle.dtype))


def _measure_extent(line: np.ndarray) -> int:
    """Returns the distance between the first and the last True, both included; 1 if there is none."""
    positions = np.flatnonzero(line)
    return int(np.ptp(positions)) + 1 if len(positions) else 1
