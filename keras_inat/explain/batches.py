"""Batches of images, sized to fit the memory of a GPU."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# A gradient keeps the outputs of all layers in memory, so large images come in smaller batches.
BATCH_SIZE = 32
BATCH_PIXELS = 8 * 224**2


def split_batches(images: np.ndarray, *others: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Splits images `(images, height, width, ...)` into batches, each with the same rows of `others`."""
    size = max(1, min(BATCH_SIZE, BATCH_PIXELS // math.prod(images.shape[1:3])))
    starts = range(0, len(images), size)
    return [tuple(rows[start : start + size] for rows in (images, *others)) for start in starts]


def run_batches(model: keras.Model, images: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yields the outputs of a model for each batch of images, one float32 array per output."""
    batches = split_batches(images)
    # Tracing a graph pays from the third batch on.
    run = tf.function(model, reduce_retracing=True) if len(batches) > 2 else model
    for (batch,) in batches:
        outputs = run([tf.constant(batch, dtype=tf.float32)], training=False)
        yield [np.asarray(output, dtype=np.float32) for output in keras.tree.flatten(outputs)]


def map_batches(function: Callable[..., Any], images: np.ndarray, classes: np.ndarray) -> Any:
    """Applies a function of images and classes batch by batch. Returns its concatenated results, float32."""
    results = []
    for batch, labels in split_batches(np.asarray(images, dtype=np.float32), np.asarray(classes, dtype=np.int64)):
        results.append(function(tf.constant(batch), tf.constant(labels)))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays).astype(np.float32), *results)


def trace(function: Callable[..., Any], model: keras.Model) -> Callable[..., Any]:
    """Traces a function of images and classes once, for batches of any size, to a graph for `map_batches`."""
    images = tf.TensorSpec(model.inputs[0].shape, tf.float32)
    return tf.function(function, input_signature=[images, tf.TensorSpec([None], tf.int64)])


def trace_class_output(model: keras.Model) -> Callable[..., tf.Tensor]:
    """Returns a traced function of images and classes: the model's output for one class of each image."""
    return trace(lambda batch, labels: tf.gather(model([batch], training=False), labels, batch_dims=1), model)
