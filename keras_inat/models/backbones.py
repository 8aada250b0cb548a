"""A table of the backbones for fine-tuning: every image model of keras.applications. Imports no TensorFlow."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_inat.errors import ExternalError, UserError, describe_choices
from keras_inat.files import suggest_path
from keras_inat.settings.schema import Finetune

HEAD = ("head_dropout", "predictions")  # the new layers on top of the pooled features of a backbone
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """An affine map of RGB pixels in [0, 255], as `preprocess_input` of a family of keras.applications applies it."""

    pixel_range: str  # the result in words
    scale: Any = 1.0  # one factor, or one for each channel
    offset: Any = 0.0  # added after the scaling; one number, or one for each channel
    reverse_channels: bool = False  # RGB becomes BGR first


# The keys are the modes of `keras.applications.imagenet_utils.preprocess_input`; "raw" leaves the pixels as they are.
PREPROCESSING = {
    "raw": Preprocessing("0 to 255"),
    "tf": Preprocessing("-1 to 1", scale=1 / 127.5, offset=-1.0),
    "torch": Preprocessing(
        "mean 0, standard deviation 1",
        scale=[1 / (255 * std) for std in IMAGENET_STD],
        offset=[-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)],
    ),
    "caffe": Preprocessing("BGR, mean 0", offset=[-103.939, -116.779, -123.68], reverse_channels=True),
}


@dataclass(frozen=True)
class Backbone:
    """A row of the table."""

    preprocessing: str  # the pixel range of its pretrained weights, a key of `PREPROCESSING`
    default_size: int  # side in pixels of the images behind `top1`
    min_size: int  # side in pixels of the smallest images that it accepts
    top1: float  # accuracy on ImageNet in percent, from the documentation of Keras
    parameters: int  # without the head

    @property
    def megabytes(self) -> float:
        """The size of its float32 weights, which is the size of the download."""
        return self.parameters * 4 / 1e6


# The keys are the names in keras.applications.
BACKBONES = {
    "ConvNeXtTiny": Backbone("raw", 224, 32, 81.3, 27_820_128),
    "ConvNeXtSmall": Backbone("raw", 224, 32, 82.3, 49_454_688),
    "ConvNeXtBase": Backbone("raw", 224, 32, 85.3, 87_566_464),
    "ConvNeXtLarge": Backbone("raw", 224, 32, 86.3, 196_230_336),
    "ConvNeXtXLarge": Backbone("raw", 224, 32, 86.7, 348_147_968),
    "DenseNet121": Backbone("torch", 224, 32, 75.0, 7_037_504),
    "DenseNet169": Backbone("torch", 224, 32, 76.2, 12_642_880),
    "DenseNet201": Backbone("torch", 224, 32, 77.3, 18_321_984),
    "EfficientNetB0": Backbone("raw", 224, 32, 77.1, 4_049_571),
    "EfficientNetB1": Backbone("raw", 240, 32, 79.1, 6_575_239),
    "EfficientNetB2": Backbone("raw", 260, 32, 80.1, 7_768_569),
    "EfficientNetB3": Backbone("raw", 300, 32, 81.6, 10_783_535),
    "EfficientNetB4": Backbone("raw", 380, 32, 82.9, 17_673_823),
    "EfficientNetB5": Backbone("raw", 456, 32, 83.6, 28_513_527),
    "EfficientNetB6": Backbone("raw", 528, 32, 84.0, 40_960_143),
    "EfficientNetB7": Backbone("raw", 600, 32, 84.3, 64_097_687),
    "EfficientNetV2B0": Backbone("raw", 224, 32, 78.7, 5_919_312),
    "EfficientNetV2B1": Backbone("raw", 240, 32, 79.8, 6_931_124),
    "EfficientNetV2B2": Backbone("raw", 260, 32, 80.5, 8_769_374),
    "EfficientNetV2B3": Backbone("raw", 300, 32, 82.0, 12_930_622),
    "EfficientNetV2S": Backbone("raw", 384, 32, 83.9, 20_331_360),
    "EfficientNetV2M": Backbone("raw", 480, 32, 85.3, 53_150_388),
    "EfficientNetV2L": Backbone("raw", 480, 32, 85.7, 117_746_848),
    "InceptionResNetV2": Backbone("tf", 299, 75, 80.3, 54_336_736),
    "InceptionV3": Backbone("tf", 299, 75, 77.9, 21_802_784),
    "MobileNet": Backbone("tf", 224, 32, 70.4, 3_228_864),
    "MobileNetV2": Backbone("tf", 224, 32, 71.3, 2_257_984),
    "MobileNetV3Large": Backbone("raw", 224, 32, 75.6, 2_996_352),
    "MobileNetV3Small": Backbone("raw", 224, 32, 68.1, 939_120),
    "NASNetLarge": Backbone("tf", 331, 32, 82.5, 84_916_818),
    "NASNetMobile": Backbone("tf", 224, 32, 74.4, 4_269_716),
    "ResNet50": Backbone("caffe", 224, 32, 74.9, 23_587_712),
    "ResNet50V2": Backbone("tf", 224, 32, 76.0, 23_564_800),
    "ResNet101": Backbone("caffe", 224, 32, 76.4, 42_658_176),
    "ResNet101V2": Backbone("tf", 224, 32, 77.2, 42_626_560),
    "ResNet152": Backbone("caffe", 224, 32, 76.6, 58_370_944),
    "ResNet152V2": Backbone("tf", 224, 32, 78.0, 58_331_648),
    "VGG16": Backbone("caffe", 224, 32, 71.3, 14_714_688),
    "VGG19": Backbone("caffe", 224, 32, 71.3, 20_024_384),
    "Xception": Backbone("tf", 299, 71, 79.0, 20_861_480),
}


def name_backbone(config: Finetune) -> str:
    """Returns the full name of a pretrained network, such as `MobileNet 0.25`.

    It has the width multiplier unless this is 1. The model of a run has the name of the run, another model that
    of its file.
    """
    path = Path(config.weights)
    if path.suffix == ".keras":
        return re.sub(r"^\d{8}-\d{6}-", "", path.resolve().parent.name) if path.name == "best.keras" else path.stem
    width = read_width_multiplier(config)
    return config.backbone if width in (None, 1) else f"{config.backbone} {width:g}"


def read_width_multiplier(config: Finetune) -> float | None:
    """Reads the width multiplier of a MobileNet from the file name that keras.applications gives to its weights.

    Returns None if the file name has none.
    """
    name = Path(config.weights).name
    if config.backbone == "MobileNet" and (match := re.search(r"mobilenet_(1_0|7_5|5_0|2_5)_\d+_tf", name)):
        return {"1_0": 1.0, "7_5": 0.75, "5_0": 0.5, "2_5": 0.25}[match[1]]
    if config.backbone.startswith(("MobileNetV2", "MobileNetV3")) and (match := re.search(r"_([01]\.\d+)_", name)):
        return float(match[1])
    return None


def check_backbone(config: Finetune) -> None:
    """Refuses a backbone that does not exist, and weights that cannot be a file of weights or a model."""
    path = Path(config.weights)
    if path.suffix != ".keras" and config.backbone not in BACKBONES:
        raise UserError(f"`finetune.backbone` {describe_choices(config.backbone, BACKBONES)}")
    if config.weights in ("imagenet", "none"):
        return
    if path.suffix not in (".h5", ".keras"):
        raise UserError(
            "`finetune.weights` must be 'imagenet', 'none', an .h5 or .weights.h5 file, or a .keras model. "
            f"Received: {config.weights!r}."
        )
    if path.is_dir():
        raise ExternalError(f"`finetune.weights` {config.weights!r} is a folder: give a file")
    if not path.is_file():
        raise ExternalError(f"`finetune.weights` {config.weights!r} does not exist.{suggest_path(path)}")
