"""Models without their last activation, and copies of models."""

from typing import Any

import keras

from keras_inat.explain.activations import is_activation
from keras_inat.models.clone import clone_model

HEADS = ("softmax", "logsoftmax", "sparsemax")  # class names of layers and operations, in lower case


def remove_last_activation(model: keras.Model) -> None:
    """Makes the last activation of a model linear, in place. In an ensemble, that of each network.

    A logit, unlike a probability, does not depend on the other classes. A model that ends in a neuron's layer needs
    the change as well: at the ceiling of a ReLU6 the derivative is zero, and there would be no gradient.
    """
    for tensor in model.outputs:
        last = tensor._keras_history.operation
        if isinstance(last, keras.Model):
            remove_last_activation(last)
        elif isinstance(last, keras.layers.Average):
            for output in keras.tree.flatten(last.input):
                _make_linear(output._keras_history.operation)
        else:
            _make_linear(last)


def build_logits_model(model: keras.Model) -> keras.Model:
    """Returns a copy of a classifier that outputs logits. The model itself is unchanged."""
    copy = copy_model(model)
    remove_last_activation(copy)
    return copy


def copy_model(model: keras.Model) -> keras.Model:
    """Returns a copy with the same weights, from `[images]` to the first output."""
    return clone_model(strip_model(model))


def strip_model(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers, from `[images]` to the first output, without the optimizer.

    A copy of the original model would have to rebuild its optimizer.
    """
    return keras.Model(model.inputs, model.outputs[0])


def _make_linear(operation: Any) -> None:
    if hasattr(operation, "activation"):
        operation.activation = keras.activations.linear
    elif is_activation(operation) or type(operation).__name__.lower() in HEADS:
        operation.call = lambda inputs, mask=None: inputs
