"""Copies of networks with the same weights."""

from collections.abc import Callable
from typing import Any

import keras


def clone_model(
    model: keras.Model, clone_layer: Callable[[keras.Layer], keras.Layer] | None = None, inputs: Any = None
) -> keras.Model:
    """Clones a model together with its weights. `keras.models.clone_model` initializes new ones.

    Args:
        model: The model to clone.
        clone_layer: Returns a new layer without weights for each layer; by default one with the same settings.
        inputs: A symbolic tensor that replaces the model's input.
    """
    cloned = keras.models.clone_model(model, input_tensors=inputs, clone_function=clone_layer)
    cloned.set_weights(model.get_weights())
    for layer in cloned._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            # The layer, the first of an EfficientNet, computes with values derived from its weights.
            layer.finalize_state()
    return cloned
