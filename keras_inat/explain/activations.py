"""Activation functions in a model: the layers and operations that apply them."""

from typing import Any

import keras

ACTIVATION_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU)
SOFTMAX_FUNCTIONS = (keras.activations.softmax, keras.activations.log_softmax, keras.activations.sparsemax)


def is_activation(operation: Any) -> bool:
    """Returns True if a layer or operation is or ends in a non-linear activation. Softmax does not count."""
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).__name__.lower() in OPERATION_NAMES
    function = getattr(operation, "activation", None)
    if function is None:
        return isinstance(operation, ACTIVATION_LAYERS)
    return _is_nonlinear(function)


def find_activations(model: keras.Model) -> list[Any]:
    """Returns every layer and operation of a model that ends in a non-linear activation, once each.

    Layers of nested models are included.
    """
    found = {}
    for layer in model._flatten_layers():
        for operation in (layer, *getattr(layer, "operations", [])):
            if is_activation(operation):
                found[id(operation)] = operation
    return list(found.values())


def find_spatial_activations(model: keras.Model) -> list[Any]:
    """Returns the top-level layers, first to last, that end in a non-linear activation with rows and columns.

    Raises:
        ValueError: If there is none.
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
    """Returns the input tensor of an activation layer, or the output of a convolution that includes its activation.

    Unlike activations, preactivations rank neurons that are all at the ceiling of a ReLU6 or all at zero.
    """
    return layer.output if getattr(layer, "kernel", None) is not None else layer.input


def _is_nonlinear(function: Any) -> bool:
    return function is not keras.activations.linear and function not in SOFTMAX_FUNCTIONS


def _list_operation_names() -> set[str]:
    """Returns the lower-case class names of the operations that are activation functions.

    `keras.ops.relu` of a symbolic tensor adds a `Relu` to the model, which is not a layer.
    """
    names = set()
    for name, function in vars(keras.activations).items():
        if callable(function) and _is_nonlinear(function) and name not in ("get", "serialize", "deserialize"):
            names.add(name.replace("_", ""))
    return names


OPERATION_NAMES = _list_operation_names()
