"""What a network's first filters look like, and what its convolutions make of one image."""

import re
from typing import Any

import keras
import numpy as np

MAX_MAPS = 5
# Layers that are an activation function, and functions that gate nothing.
ACTIVATION_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU)
PASSIVE = (keras.activations.linear, keras.activations.softmax, keras.activations.log_softmax)


def read_first_filters(model: keras.Model) -> np.ndarray:
    """Reads the kernels of the first convolution that sees colours.

    Args:
        model: Any built model; nested ones are searched too.

    Returns:
        `(filters, height, width, 3)` float32, the last axis in the order red, green, blue.

    Raises:
        ValueError: When no convolution has three input channels.
    """
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] == 3:
            filters = np.asarray(layer.kernel, dtype=np.float32).transpose(3, 0, 1, 2)
            # ResNet50 and VGG16 read blue first, so their models begin with a flip of the channels.
            flipped = any(type(operation).__name__ == "Flip" for operation in model.operations)
            return filters[..., ::-1] if flipped else filters
    raise ValueError(f"the model {model.name!r} has no convolution with 3 input channels: there are no filters to show")


def compute_feature_maps(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """Computes what the activations after the convolutions put out for one image.

    Args:
        model: A functional model with one image as its input.
        image: `(height, width, 3)` in [0, 255].

    Returns:
        `(rows, columns, filters)` float32 by layer name, first to last: every block of our CNN; of other networks the
        last activation at each of the last five resolutions.

    Raises:
        ValueError: When there is no such activation.
    """
    activations = find_spatial_activations(model)
    blocks = [layer for layer in activations if re.fullmatch(r"block\d+_activation", layer.name)]
    # A dictionary keeps the last layer of each resolution.
    chosen = blocks or list({layer.output.shape[1:3]: layer for layer in activations}.values())[-MAX_MAPS:]
    cut = keras.Model(model.inputs, [layer.output for layer in chosen])
    # Called, not `predict`ed: that would trace a graph for one image.
    outputs = cut([np.asarray(image, dtype=np.float32)[None]], training=False)
    arrays = [np.asarray(output, dtype=np.float32)[0] for output in keras.tree.flatten(outputs)]
    return {layer.name: array for layer, array in zip(chosen, arrays, strict=True)}


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


def is_activation(layer: Any) -> bool:
    """Whether `layer` is or ends in a non-linear activation, softmax not counted."""
    function = getattr(layer, "activation", None)
    return isinstance(layer, ACTIVATION_LAYERS) if function is None else function not in PASSIVE
