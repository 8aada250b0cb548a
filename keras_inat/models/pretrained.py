"""Pretrained networks without their heads. Each receives the pixel range that its weights were trained on."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_inat.errors import ExternalError, UserError
from keras_inat.models.backbones import (
    BACKBONES,
    HEAD,
    IMAGENET_STD,
    PREPROCESSING,
    check_backbone,
    read_width_multiplier,
)
from keras_inat.models.cnn import LAST_LAYER
from keras_inat.settings.schema import Finetune

FINETUNED = "finetune"  # the name of a model with a backbone, within its file


def build_finetune(config: Finetune, image_size: int, num_classes: int, smallest: int | None = None) -> keras.Model:
    """Builds a backbone with a new head as a flat model, uncompiled and with all layers trainable.

    `smallest` is the side of the smallest training images, by default `image_size`.

    Returns:
        A functional model from `(batch, image_size, image_size, 3)` in [0, 255] to `(batch, num_classes)`
        probabilities. The layers of `HEAD` are new, the others come from the backbone.

    Raises:
        UserError: If backbone, size and weights do not fit together, or the weights are missing.
    """
    check_backbone(config)
    if config.weights.endswith(".keras"):
        inputs, features = _load_trained_model(Path(config.weights), image_size)
    else:
        inputs, features = _load_application(config, image_size, smallest or image_size)
    if config.dropout:
        features = layers.Dropout(config.dropout, name="head_dropout")(features)
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32", name="predictions")(features)
    return keras.Model(inputs, outputs, name=FINETUNED)


def get_features(model: keras.Model) -> Any:
    """Returns the symbolic features `(batch, channels)` of a model of `build_finetune`: the input of its head."""
    return next(layer.input for layer in model.layers if layer.name in HEAD)


def clone_model(
    model: keras.Model, clone_layer: Callable[[keras.Layer], keras.Layer] | None = None, inputs: Any = None
) -> keras.Model:
    """Clones a model together with its weights. `keras.models.clone_model` initializes new ones.

    By default, `clone_layer` returns a layer with the same settings. `inputs` replaces the model's symbolic input.
    """
    cloned = keras.models.clone_model(model, input_tensors=inputs, clone_function=clone_layer)
    cloned.set_weights(model.get_weights())
    for layer in cloned._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            # The layer, the first of an EfficientNet, computes with values derived from its weights.
            layer.finalize_state()
    return cloned


def clone_with_precision(model: keras.Model, precision: str) -> keras.Model:
    """Clones a model together with its weights. Every layer computes with the dtype policy `precision`, unfrozen.

    The layers that return probabilities always compute in float32.
    """

    def clone_layer(layer: Any) -> Any:
        if not isinstance(layer, keras.Layer):  # such as the sum of two tensors in a ConvNeXt
            return type(layer).from_config(layer.get_config())
        dtype = "float32" if layer.name.endswith(LAST_LAYER) else precision
        return type(layer).from_config(layer.get_config() | {"dtype": dtype, "trainable": True})

    return clone_model(model, clone_layer)


def preprocess(images: Any, name: str) -> Any:
    """Converts RGB pixels in [0, 255] to a range of `PREPROCESSING`, with layers of the model."""
    row = PREPROCESSING[name]
    if row.reverse_channels:
        images = keras.ops.flip(images, axis=-1)
    if name == "raw":
        return images
    return layers.Rescaling(row.scale, row.offset, name="rescale")(images)


def _load_application(config: Finetune, image_size: int, smallest: int) -> tuple[Any, Any]:
    """Returns the input and the pooled features of a network of keras.applications.

    Keras itself pools, because a ConvNeXt normalizes after the pooling. Its own head does so, too.
    """
    row = BACKBONES[config.backbone]
    if smallest < row.min_size:
        scaled = f", which `training.image_scales` reduces to {smallest}" if smallest < image_size else ""
        raise UserError(
            f"{config.backbone} needs `data.image_size` of at least {row.min_size}. Received: {image_size}{scaled}."
        )
    from_file = config.weights not in ("imagenet", "none")
    if config.weights == "imagenet":
        size = f"{row.megabytes:,.0f} MB"
        print(f"ImageNet weights of {config.backbone}: downloaded ({size}) unless Keras has stored them", flush=True)
    inputs = keras.Input((image_size, image_size, 3), name="image")
    pixels = preprocess(inputs, row.preprocessing)
    weights = None if config.weights == "none" else config.weights
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MobileNets warn that the ImageNet weights for 224 pixels fit every size
            build = getattr(keras.applications, config.backbone)
            width = read_width_multiplier(config)
            options = {} if width is None else {"alpha": width}
            backbone = build(include_top=False, pooling="avg", input_tensor=pixels, weights=weights, **options)
    except Exception as error:  # Keras reports a failed download or an unsuitable file with many classes
        reason = " ".join(str(error).split())[:300]
        if weights != "imagenet":
            raise UserError(f"{config.weights} does not fit {config.backbone}: {reason}") from None
        raise ExternalError(
            f"the ImageNet weights of {config.backbone} could not be downloaded ({reason}): connect to the network, or "
            "download that file elsewhere and set WEIGHTS=<file>.h5, or set WEIGHTS=<model>.keras or WEIGHTS=none"
        ) from None
    if from_file and re.fullmatch(r"EfficientNetB\d", config.backbone):
        # Keras divides the normalized pixels by the square root of their standard deviation, but only if `weights` is
        # "imagenet" and not if it names the same file. Here the first kernel absorbs these factors.
        factors = np.array([deviation**-0.5 for deviation in IMAGENET_STD], np.float32)
        kernel = backbone.get_layer("stem_conv").kernel
        kernel.assign(kernel * factors[:, None])
    return inputs, backbone.output


def _load_trained_model(path: Path, image_size: int) -> tuple[Any, Any]:
    """Returns the input and the pooled features of a model that this program trained."""
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # a damaged archive raises many classes of errors
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a model saved by keras-inat: {reason}") from None
    if model.input_shape[1:] != (image_size, image_size, 3):
        raise UserError(
            f"{path} was trained on {model.input_shape[1]} px images: set data.image_size={model.input_shape[1]}. "
            f"Received: {image_size}."
        )
    # The file contains the precision of the training and which layers were frozen. Neither applies here.
    model = clone_with_precision(model, keras.config.dtype_policy().name)
    if model.name == FINETUNED:
        return model.input, get_features(model)
    # Each ensemble member has its own last feature maps.
    maps = [layer.output for layer in model.layers if _has_last_maps(layer)]
    joined = layers.Concatenate(name="ensemble")(maps) if len(maps) > 1 else maps[0]
    return model.input, layers.GlobalAveragePooling2D(name="pool")(joined)


def _has_last_maps(layer: keras.Layer) -> bool:
    """Returns True if the layer outputs feature maps and none of the layers that read them does."""
    outputs = [layer.output, *(node.operation.output for node in layer._outbound_nodes)]
    has_maps = [len(output.shape) == 4 for output in outputs]
    return has_maps[0] and not any(has_maps[1:])
