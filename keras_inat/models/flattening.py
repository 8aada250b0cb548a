"""Networks without networks inside them: every layer is one of the model itself and is applied once."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import keras

from keras_inat.errors import UserError
from keras_inat.models.model_configs import keep_random_state


def is_flat(model: keras.Model) -> bool:
    """Returns True for a functional model whose layers are no models, are applied once each and do not augment."""
    if not hasattr(model, "operations") or isinstance(model, keras.Sequential) or isinstance(model.input, list | dict):
        return False
    return all(
        len(operation._inbound_nodes) == 1 and not isinstance(operation, keras.Model) and not _augments(operation)
        for operation in model.operations
    )


def _augments(operation: Any) -> bool:
    """Returns True for a layer that changes images in a training only."""
    return type(operation).__name__.startswith("Random")


@keep_random_state()
def flatten_model(model: keras.Model, image: Any = None, reserved: Iterable[str] = ()) -> keras.Model:
    """Copies a model together with its weights, so that the layers of the models inside it are its own.

    Transfer learning usually puts one model into another, as a single layer. Neither the trainable layers nor
    explanations could be chosen among those inside. Layers that augment images are not copied.

    Args:
        model: A functional or sequential model with one input and one output.
        image: The symbolic input of the copy; by default one like that of the model.
        reserved: Names that the layers must not have.

    Raises:
        UserError: A layer with weights is applied more than once.
    """
    names = set(reserved)
    with_weights: dict[Any, keras.Layer] = {}

    def apply_model(part: keras.Model, inputs: Any, *args: Any, **named: Any) -> Any:
        if isinstance(part, keras.Sequential):
            for layer in part.layers:
                inputs = apply(layer)(inputs)
            return inputs
        return part._run_through_graph(inputs, operation_fn=apply)

    def apply(operation: Any) -> Any:
        if isinstance(operation, keras.Model):
            return partial(apply_model, operation)
        if _augments(operation):
            return lambda images, **named: images
        name = operation.name
        number = 1
        while name in names:
            number += 1
            name = f"{operation.name}_{number}"
        names.add(name)
        copy = type(operation).from_config(operation.get_config() | {"name": name})
        if getattr(operation, "weights", ()):
            if operation in with_weights:
                raise UserError(f"its layer {operation.name!r} is applied more than once, with the same weights")
            with_weights[operation] = copy
        return copy

    if image is None:
        image = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype, name=model.inputs[0].name)
    names.add(image._keras_history.operation.name)
    flat = keras.Model(image, keras.tree.flatten(apply_model(model, image))[0], name=model.name)
    for operation, copy in with_weights.items():
        copy.set_weights(operation.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()  # it computes with values derived from its weights
    return flat
