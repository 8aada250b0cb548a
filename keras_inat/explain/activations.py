"""Where a network's activations are, how to take its softmax off, and how to run a part of it over many images."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inat.models.clone import clone_model

# At most so many images at once, and of large ones fewer: a gradient keeps what every layer gave of each in memory.
BATCH_SIZE, BATCH_PIXELS = 32, 8 * 224**2
# Layers that are an activation function, and functions that gate nothing.
ACTIVATION_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU)
PASSIVE = tuple(getattr(keras.activations, name) for name in ("linear", "softmax", "log_softmax", "sparsemax"))
# `keras.ops.relu` of a symbolic tensor puts a `Relu` into the model, which is no layer.
FUNCTIONS = {
    name.replace("_", "")
    for name, function in vars(keras.activations).items()
    if callable(function) and function not in PASSIVE and name not in ("get", "serialize", "deserialize")
}
HEADS = ("softmax", "logsoftmax", "sparsemax")  # layers and operations


def is_activation(operation: Any) -> bool:
    """Whether a layer, or an operation that is none, is or ends in a non-linear activation, softmax not counted."""
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).__name__.lower() in FUNCTIONS
    function = getattr(operation, "activation", None)
    return isinstance(operation, ACTIVATION_LAYERS) if function is None else function not in PASSIVE


def find_activations(model: keras.Model) -> list[Any]:
    """Every layer and operation of a model, nested ones included, that ends in a non-linear activation, each once."""
    operations = [found for layer in model._flatten_layers() for found in (layer, *getattr(layer, "operations", []))]
    return [found for found in {id(found): found for found in operations}.values() if is_activation(found)]


def find_spatial_activations(model: keras.Model) -> list[Any]:
    """The top-level layers, first to last, that end in a non-linear activation with rows and columns.

    Raises:
        ValueError: When there is none.
    """
    found = []
    for layer in model.layers:
        shape = getattr(layer.output, "shape", ())
        # Squeeze-and-excitation gates have a single row and column: they are weights of channels, not pictures.
        if is_activation(layer) and len(shape) == 4 and shape[1:3] != (1, 1):
            found.append(layer)
    if not found:
        raise ValueError(f"the model {model.name!r} has no activation with rows and columns among its top-level layers")
    return found


def find_input(layer: Any) -> Any:
    """The tensor that enters a layer's activation, or where that is an argument of a convolution, what comes out.

    It tells neurons apart that are all at the ceiling of a ReLU6, or all off.
    """
    return layer.output if getattr(layer, "kernel", None) is not None else layer.input


def take_off_softmax(model: keras.Model) -> None:
    """Makes the last activation of a model linear, in place; where the last layer is a mean, those that it is of.

    Without its softmax, the score of a class does not depend on the other classes; and a neuron at the ceiling of a
    ReLU6, where its derivative is zero, still shows what brought it there. For a ReLU nothing changes.
    """
    for tensor in model.outputs:
        last = tensor._keras_history.operation
        if isinstance(last, keras.Model):
            take_off_softmax(last)
        elif isinstance(last, keras.layers.Average):
            for mean_of in keras.tree.flatten(last.input):
                _make_linear(mean_of._keras_history.operation)
        else:
            _make_linear(last)


def build_scorer(model: keras.Model) -> keras.Model:
    """A copy of a classifier that gives the scores (logits) of the classes; the model itself stays as it is."""
    copy = copy_model(model)
    take_off_softmax(copy)
    return copy


def copy_model(model: keras.Model) -> keras.Model:
    """A copy with the same weights, from `[images]` to what the model puts out first."""
    return clone_model(strip_model(model))


def strip_model(model: keras.Model) -> keras.Model:
    """The same layers, from `[images]` to the first output, without the optimizer that copies would have to rebuild."""
    return keras.Model(model.inputs, model.outputs[0])


def run_batches(model: keras.Model, images: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Runs images through a model, some at a time, as they fit into the memory of a GPU.

    Yields:
        What the model puts out for each batch, float32, an array for each of its outputs.
    """
    batches = split_batches(images)
    # Layer by layer, unless there are so many that tracing a graph pays.
    run = tf.function(model, reduce_retracing=True) if len(batches) > 2 else model
    for (batch,) in batches:
        outputs = run([tf.constant(batch, dtype=tf.float32)], training=False)
        yield [np.asarray(output, dtype=np.float32) for output in keras.tree.flatten(outputs)]


def map_batches(function: Callable[..., Any], images: np.ndarray, classes: np.ndarray) -> Any:
    """A function of images and classes over many of them; what it gives, float32, as one array or a tuple of them."""
    batches = split_batches(np.asarray(images, dtype=np.float32), np.asarray(classes))
    parts = [function(tf.constant(batch), tf.constant(part)) for batch, part in batches]
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays).astype(np.float32), *parts)


def trace_score(model: keras.Model) -> Callable[..., tf.Tensor]:
    """What a model puts out for a class of each image, as a function of images and classes for `map_batches`."""
    return tf.function(
        lambda batch, part: tf.gather(model([batch], training=False), part, batch_dims=1), reduce_retracing=True
    )


def split_batches(images: np.ndarray, *others: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Images `(images, height, width, ...)` some at a time, with the same rows of `others`."""
    size = max(1, min(BATCH_SIZE, BATCH_PIXELS // math.prod(images.shape[1:3])))
    starts = range(0, len(images), size)
    return [tuple(rows[start : start + size] for rows in (images, *others)) for start in starts]


def _make_linear(operation: Any) -> None:
    if hasattr(operation, "activation"):
        operation.activation = keras.activations.linear
    elif is_activation(operation) or type(operation).__name__.lower() in HEADS:
        operation.call = lambda inputs, mask=None: inputs
