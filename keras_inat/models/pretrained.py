"""Pretrained networks without their heads, each fed the pixel range that its weights were trained on."""

import os
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_inat.errors import ExternalError, UserError, describe_choices
from keras_inat.models.backbones import BACKBONES, IMAGENET_STD, PIXELS
from keras_inat.models.clone import clone_model
from keras_inat.settings.schema import Finetune


def build_finetune(config: Finetune, image_size: int, num_classes: int, smallest: int | None = None) -> keras.Model:
    """Builds a backbone with a new head on the same level, not nested, uncompiled, everything trainable.

    Args:
        config: Names the backbone and its weights.
        image_size: Side of the input in pixels.
        num_classes: Length of the output.
        smallest: Side of the smallest images that it is to be trained on; None: `image_size`.

    Returns:
        A functional model from `(batch, image_size, image_size, 3)` in [0, 255] to `(batch, num_classes)`
        probabilities. The layers of `HEAD` are new, the others come from the backbone.

    Raises:
        UserError: When backbone, size or weights do not go together or are missing.
    """
    if config.weights.endswith(".keras"):
        inputs, features = _load_own(Path(config.weights), image_size)
    else:
        inputs, features = _load_application(config, image_size, smallest or image_size)
    x = layers.GlobalAveragePooling2D(name="head_pool")(features)
    if config.dropout:
        x = layers.Dropout(config.dropout, name="head_dropout")(x)
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32", name="predictions")(x)
    return keras.Model(inputs, outputs, name="finetune")


def preprocess(images: Any, pixels: str) -> Any:
    """Brings RGB pixels in [0, 255] to the range `pixels` of the table, as layers of the model."""
    reverse, scale, offset = PIXELS[pixels]
    if reverse:
        images = keras.ops.flip(images, axis=-1)
    return images if pixels == "raw" else layers.Rescaling(scale, offset, name="rescale")(images)


def _load_application(config: Finetune, image_size: int, smallest: int) -> tuple[Any, Any]:
    if config.backbone not in BACKBONES:
        raise UserError(f"`finetune.backbone` {describe_choices(config.backbone, BACKBONES)}")
    row = BACKBONES[config.backbone]
    if smallest < row.min_size:
        scaled = f", which `training.image_scales` make {smallest}" if smallest < image_size else ""
        raise UserError(
            f"{config.backbone} needs `data.image_size` of at least {row.min_size}. Received: {image_size}{scaled}."
        )
    weights: str | None = None if config.weights == "none" else config.weights
    if weights == "imagenet":
        _announce_weights(config.backbone)
    elif weights:
        _check_file(Path(weights), (".h5",))
    inputs = keras.Input((image_size, image_size, 3), name="image")
    extra: dict[str, Any] = _arguments(config.backbone, config.weights)
    build: Callable[..., keras.Model] = getattr(keras.applications, config.backbone)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MobileNets warn that ImageNet's weights for 224 pixels serve every size
            backbone = build(include_top=False, weights=weights, input_tensor=preprocess(inputs, row.pixels), **extra)
    except Exception as error:  # Keras reports a failed download and a file that does not fit in many ways
        reason = " ".join(str(error).split())[:300]
        if weights == "imagenet":
            raise ExternalError(
                f"the ImageNet weights of {config.backbone} could not be had ({reason}): connect to the network, or "
                "get that file elsewhere and give WEIGHTS=<it>.h5; or WEIGHTS=<our model>.keras, or WEIGHTS=none"
            ) from None
        raise UserError(f"{config.weights} does not fit {config.backbone}: {reason}") from None
    if weights not in (None, "imagenet") and re.fullmatch(r"EfficientNetB\d", config.backbone):
        _scale_stem(backbone)
    return inputs, backbone.output


def _announce_weights(backbone: str) -> None:
    """Says where Keras keeps its downloads, and how large this one is."""
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    if not os.access(home if home.exists() else home.parent, os.W_OK):
        home = Path(tempfile.gettempdir(), ".keras")  # which Keras would not say
    size = BACKBONES[backbone].megabytes
    print(f"ImageNet weights of {backbone}: from {home / 'models'}, or downloaded to it ({size:,.0f} MB)", flush=True)


def _scale_stem(backbone: keras.Model) -> None:
    """Makes the network of a file's weights the one that they were trained in.

    Keras divides the normalised pixels once more, by the square root of their deviation, where `weights` is "imagenet",
    and does not where it names the same file. Here the kernel that meets them takes the factors in.
    """
    stem = backbone.get_layer("stem_conv")
    factors = np.array([deviation**-0.5 for deviation in IMAGENET_STD], np.float32)
    stem.kernel.assign(stem.kernel * factors[:, None])


def _arguments(backbone: str, weights: str) -> dict[str, Any]:
    """The width multiplier of a MobileNet is read off the name of its weights, as keras.applications writes it."""
    name = Path(weights).name
    if backbone == "MobileNet" and (match := re.search(r"mobilenet_(1_0|7_5|5_0|2_5)_\d+_tf", name)):
        return {"alpha": {"1_0": 1.0, "7_5": 0.75, "5_0": 0.5, "2_5": 0.25}[match[1]]}
    if backbone.startswith(("MobileNetV2", "MobileNetV3")) and (match := re.search(r"_([01]\.\d+)_", name)):
        return {"alpha": float(match[1])}
    return {}


def _load_own(path: Path, image_size: int) -> tuple[Any, Any]:
    """A model that this project trained, up to the feature maps before its head."""
    _check_file(path, (".keras",))
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever a damaged archive leads Keras into
        raise UserError(f"{path} is not a model of ours: {' '.join(str(error).split())[:200]}") from None
    if model.input_shape[1:] != (image_size, image_size, 3):
        raise UserError(
            f"{path} was trained on {model.input_shape[1]} px images: set data.image_size={model.input_shape[1]}. "
            f"Received: {image_size}."
        )
    # A file remembers the precision that it was trained in, and which layers were frozen then.
    model = clone_model(model, _clone_to_train)
    # The feature maps that nothing makes others of: one, or one of each tower.
    maps = [layer.output for layer in model.layers if _has_maps(layer) and not any(map(_has_maps, _list_users(layer)))]
    return model.input, keras.layers.Concatenate(name="towers")(maps) if len(maps) > 1 else maps[0]


def _has_maps(layer: keras.Layer) -> bool:
    return len(layer.output.shape) == 4


def _list_users(layer: keras.Layer) -> list[keras.Layer]:
    return [node.operation for node in layer._outbound_nodes]


def _clone_to_train(layer: keras.Layer) -> keras.Layer:
    settings = {"dtype": keras.config.dtype_policy().name, "trainable": True}
    return type(layer).from_config(layer.get_config() | settings)


def _check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise UserError(
            "`finetune.weights` must be 'imagenet', 'none', an .h5 or .weights.h5 file, or one of our .keras models. "
            f"Received: {str(path)!r}."
        )
    if not path.is_file():
        raise ExternalError(f"`finetune.weights` {str(path)!r} does not exist")
