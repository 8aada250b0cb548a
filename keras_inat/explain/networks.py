"""Networks to explain: their activations, copies without the last one, and their outputs batch by batch."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inat.models.pretrained import clone_model

# A gradient keeps the outputs of all layers in memory, so large images come in smaller batches.
BATCH_SIZE = 32
BATCH_PIXELS = 8 * 224**2
NOT_GUIDED = (
    keras.activations.linear, keras.activations.softmax, keras.activations.log_softmax, keras.activations.sparsemax,
)  # fmt: skip
# Class names of layers and operations, in lower case. `keras.ops.relu` of a symbolic tensor, for example, adds a `Relu`
# to the model, which is not a layer.
SOFTMAX_NAMES = {"softmax", "logsoftmax", "sparsemax"}
ACTIVATION_NAMES = {"prelu", *(name.replace("_", "") for name in vars(keras.activations))} - SOFTMAX_NAMES - {"linear"}


def is_activation(operation: Any) -> bool:
    """Returns True if a layer or operation is or ends in a non-linear activation. Softmax does not count."""
    function = getattr(operation, "activation", None)
    return type(operation).__name__.lower() in ACTIVATION_NAMES if function is None else function not in NOT_GUIDED


def find_activations(model: keras.Model) -> list[Any]:
    """Returns every layer and operation that ends in a non-linear activation, once each, also in nested models."""
    found = {}
    for layer in model._flatten_layers():
        for operation in (layer, *getattr(layer, "operations", [])):
            if is_activation(operation):
                found[id(operation)] = operation
    return list(found.values())


def find_spatial_activations(model: keras.Model) -> list[Any]:
    """Returns the top-level layers, first to last, that end in a non-linear activation with rows and columns.

    It is a ValueError if there is none.
    """
    found = []
    for layer in model.layers:
        shape = getattr(layer.output, "shape", ())
        # Squeeze-and-excitation gates have one row and one column: they are channel weights, not feature maps.
        if is_activation(layer) and len(shape) == 4 and shape[1:3] != (1, 1):
            found.append(layer)
    if not found:
        raise ValueError(f"the model {model.name!r} has no activation with rows and columns among its top-level layers")
    return found


def find_preactivation(layer: Any) -> Any:
    """Returns the tensor to which an activation layer, or a convolution that includes its activation, applies it.

    Unlike activations, preactivations rank neurons that are all at the ceiling of a ReLU6 or all at zero, and have a
    gradient there.
    """
    if getattr(layer, "kernel", None) is None:
        return layer.input
    linear = layer.__class__.from_config(layer.get_config() | {"activation": None, "name": f"{layer.name}_linear"})
    output = linear(layer.input)
    linear.set_weights(layer.get_weights())
    return output


def remove_last_activation(model: keras.Model) -> None:
    """Makes the last activation of a model linear, in place. In an ensemble, that of each network.

    A logit, unlike a probability, does not depend on the other classes. A model that ends in a neuron's layer needs
    the change as well: at the ceiling of a ReLU6 the derivative is zero, and there would be no gradient.
    """
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        remove_last_activation(last)
        return
    is_ensemble = isinstance(last, keras.layers.Average)
    heads = [output._keras_history.operation for output in last.input] if is_ensemble else [last]
    for head in heads:
        if hasattr(head, "activation"):
            head.activation = keras.activations.linear
        elif is_activation(head) or type(head).__name__.lower() in SOFTMAX_NAMES:
            head.call = lambda inputs, mask=None: inputs


def build_logits_model(model: keras.Model) -> keras.Model:
    """Returns a copy of a classifier that outputs logits. The model itself is unchanged."""
    copy = clone_model(strip_model(model))
    remove_last_activation(copy)
    return copy


def strip_model(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers from `[images]`, without the optimizer, which a copy would have to rebuild."""
    return keras.Model(model.inputs, model.outputs[0])


def map_batches(function: Callable[..., Any], images: np.ndarray, *others: np.ndarray) -> Any:
    """Applies a function to batches of images, each with the same rows of `others`. Concatenates its results, float32.

    The function takes float32 images `(images, height, width, 3)` and int64 rows.
    """
    size = max(1, min(BATCH_SIZE, BATCH_PIXELS // math.prod(images.shape[1:3])))
    results = []
    for start in range(0, len(images), size):
        batch = tf.constant(images[start : start + size], tf.float32)
        results.append(function(batch, *(tf.constant(rows[start : start + size], tf.int64) for rows in others)))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays).astype(np.float32), *results)


def trace(function: Callable[..., Any], model: keras.Model) -> Callable[..., Any]:
    """Traces a function of images and classes once, for batches of any size, to a graph for `map_batches`."""
    images = tf.TensorSpec(model.inputs[0].shape, tf.float32)
    return tf.function(function, input_signature=[images, tf.TensorSpec([None], tf.int64)])


def trace_class_output(model: keras.Model) -> Callable[..., tf.Tensor]:
    """Returns a traced function of images and classes: the model's output for one class of each image."""
    return trace(lambda batch, labels: tf.gather(model([batch], training=False), labels, batch_dims=1), model)
