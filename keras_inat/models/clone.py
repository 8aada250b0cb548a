"""Copies of networks with the same weights."""

from collections.abc import Callable
from typing import Any

import keras


def clone_model(
    model: keras.Model, copy: Callable[[keras.Layer], keras.Layer] | None = None, inputs: Any = None
) -> keras.Model:
    """As Keras's function of this name, with the weights, and with what layers compute from them.

    Args:
        model: What is to be cloned.
        copy: Gives a layer of its own, without weights, for each; by default one with the same settings.
        inputs: A symbolic tensor in place of the model's input.
    """
    cloned = keras.models.clone_model(model, input_tensors=inputs, clone_function=copy)
    cloned.set_weights(model.get_weights())
    for layer in cloned._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights: the first layers of EfficientNets do
    return cloned
