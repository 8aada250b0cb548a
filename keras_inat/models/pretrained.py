"""Pretrained networks without their heads. Each receives the pixel range that its weights were trained on."""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_inat.errors import ExternalError, FileError, UserError, explain_errors, shorten_error
from keras_inat.log import warn
from keras_inat.models.backbones import (
    BACKBONES,
    HEAD,
    IMAGENET_STD,
    PREPROCESSING,
    check_backbone,
    read_width_multiplier,
)
from keras_inat.models.cnn import LAST_LAYER
from keras_inat.models.feature_maps import find_last_maps, has_kernel
from keras_inat.models.flattening import flatten_model
from keras_inat.models.model_files import load_model
from keras_inat.models.weight_files import check_size, check_weights_apart
from keras_inat.settings.schema import Finetune
from keras_inat.store.contracts import has_contract

FINETUNED = "finetune"  # the name of a model with a backbone, within its file
JOINED_MAPS = "ensemble"  # names of layers that are added to a trained model
POOL = "pool"


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
    if from_file:
        _check_weights_file(Path(config.weights), config.backbone)
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
        reason = shorten_error(error, 300)
        if weights != "imagenet":
            raise UserError(f"{config.weights} does not fit {config.backbone}: {reason}") from None
        raise ExternalError(
            f"the ImageNet weights of {config.backbone} could not be downloaded ({reason}): connect to the network, or "
            "download that file elsewhere and set WEIGHTS=<file>.h5, or set WEIGHTS=<model>.keras or WEIGHTS=none"
        ) from None
    if from_file and not all(np.isfinite(weight).all() for weight in backbone.get_weights()):
        raise UserError(f"{config.weights} has weights that are not finite numbers: it is damaged")
    if from_file and re.fullmatch(r"EfficientNetB\d", config.backbone):
        # Keras divides the normalized pixels by the square root of their standard deviation, but only if `weights` is
        # "imagenet" and not if it names the same file. Here the first kernel absorbs these factors.
        factors = np.array([deviation**-0.5 for deviation in IMAGENET_STD], np.float32)
        kernel = backbone.get_layer("stem_conv").kernel
        kernel.assign(kernel * factors[:, None])
    return inputs, backbone.output


def _load_trained_model(path: Path, image_size: int) -> tuple[Any, Any]:
    """Returns the input and the pooled features of a trained model: one of ours, or of another program.

    Its backbone reaches up to its last feature maps. The layers after them are its head, which is not used.
    """
    model = load_model(path)
    shape = tuple(model.input_shape[1:])
    if len(shape) != 3 or shape[2] != 3 or shape[0] != shape[1]:
        raise UserError(f"{path} takes inputs of shape {shape}: a backbone takes square RGB images")
    if shape[0] not in (None, image_size):
        raise UserError(
            f"{path} was trained on {shape[0]} px images: set data.image_size={shape[0]}. Received: {image_size}."
        )
    names = {layer.name for layer in model.layers}
    is_finetuned = model.name == FINETUNED and not names.isdisjoint(HEAD)
    try:
        if not is_finetuned:
            image = keras.Input((image_size, image_size, 3), name="image")
            model = flatten_model(model, image, (*HEAD, JOINED_MAPS, POOL))
        # The file contains the precision of the training and which layers were frozen. Neither applies here.
        model = clone_with_precision(model, keras.config.dtype_policy().name)
        features = get_features(model) if is_finetuned else _pool(find_last_maps(model))
        backbone = keras.Model(model.input, features)
        if len(features.shape) != 2 or not any(map(has_kernel, backbone.layers)):
            raise ValueError("no layer with a kernel lies between its images and the input of its head")
        if not np.isfinite(backbone(np.zeros((1, image_size, image_size, 3), np.float32), training=False)).all():
            raise ValueError("its features of a black image are not finite")
    except Exception as error:  # Keras and TensorFlow raise many types of exception for a network that cannot run
        raise UserError(f"{path} cannot be a backbone: {shorten_error(error)}") from None
    _warn_of_scale(path)
    return model.input, features


@cache
def _warn_of_scale(path: Path) -> None:
    if not has_contract(path):
        warn(f"{path} was saved by another program. It receives RGB pixels from 0 to 255 and has to scale them itself")


def _pool(maps: Sequence[Any]) -> Any:
    """Returns the pooled features of the last feature maps. Each ensemble member has its own."""
    joined = layers.Concatenate(name=JOINED_MAPS)(maps) if len(maps) > 1 else maps[0]
    return layers.GlobalAveragePooling2D(name=POOL)(joined)


def _check_weights_file(path: Path, backbone: str) -> None:
    """Refuses a file of weights that holds anything else, or more than several copies of the backbone's."""
    try:
        with explain_errors("read", path):
            check_size(check_weights_apart(path), 4 * BACKBONES[backbone].parameters)
    except (FileError, UserError):
        raise
    except Exception as error:  # h5py raises many types of exception for a damaged file
        raise UserError(f"{path} cannot be loaded: {shorten_error(error)}") from None
