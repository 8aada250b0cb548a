"""The contract of an export: its classes, input, outputs, and the exact preparation of an image file, as data."""

from typing import Any

import keras

from keras_inat import __version__
from keras_inat.data.decode import MAX_SRGB_CHANGE, MIN_DRAFT_SIDE, MODES, PADDING, TURNS, stored_size
from keras_inat.files import hash_file
from keras_inat.intervals import wilson_interval
from keras_inat.models.backbones import name_backbone
from keras_inat.store.exports import ExportAccuracy, ExportContract, ExportInput, PreparationStep
from keras_inat.store.records import DataSummary, Preparation, Result
from keras_inat.store.runs import RunFolder

FIT_TEXTS = {
    "crop": "Take the centered square, box ((width - side) / 2, (height - side) / 2, ...) with side = min(width, "
    "height), also at fractions of a pixel, and resize it to size x size.",
    "pad": "With scale = size / max(width, height), resize the image to round(width * scale) x round(height * scale), "
    "at least 1 x 1.",
    "squash": "Resize the whole image to size x size, without its aspect ratio.",
}


def build_contract(run: RunFolder, result: Result, outputs: tuple[str, ...], license_: str | None) -> ExportContract:
    """Builds the contract of the exports of a run, without their hashes."""
    data = result.data
    return ExportContract(
        name=result.name,
        classes=data.classes,
        input=ExportInput(size=data.image_size),
        outputs=outputs,
        preparation=data.preparation,
        steps=list_steps(data.image_size, data.preparation),
        temperature=result.temperature,
        license=license_,
        card=_describe_model(result),
        accuracy=_find_accuracy(result),
        keras=keras.__version__,
        keras_inat=__version__,
        model_hash=hash_file(run.model),
    )


def list_steps(size: int, preparation: Preparation) -> tuple[PreparationStep, ...]:
    """Returns the steps of `data.decode` from an image file to pixels, in words of Pillow."""
    modes = {mode: list(conversions) for mode, (conversions, _) in MODES.items()}
    turns = {str(number): turn.name for number, turn in TURNS.items()}
    draft = max(MIN_DRAFT_SIDE, stored_size(size))
    steps: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (
            "decode",
            "Decode the first frame. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as both sides keep "
            "jpeg_side pixels (Pillow: draft(None, (jpeg_side, jpeg_side))). Decoding it at full size instead changes "
            "probabilities slightly.",
            {"jpeg_side": draft},
        ),
        (
            "convert",
            "Convert the image from its mode through the listed modes, one after the other. An image of mode 1, L, P "
            "or RGB with transparent pixels goes through those of transparent. RGBa has colors multiplied by alpha.",
            {"modes": modes, "transparent": ["RGBA", "RGBa"]},
        ),
        (
            "resize",
            f"{FIT_TEXTS[preparation.fit]} The filter is Pillow's BILINEAR, a triangle. It is widened by the factor of "
            "a reduction, so that nothing aliases. It is applied to rows, then to columns, and each result is rounded "
            "to 8 bits. A square image that it enlarges may differ by 1 of 255.",
            {"fit": preparation.fit, "size": size, "filter": "BILINEAR"},
        ),
        (
            "scale",
            "Multiply pixels of mode I;16, I;16B or I by 255 / white and those of mode F by 255 / float_white. Clip "
            "them to 0 ... 255 and round them. A PPM file has white 65535, a 12-bit TIFF 4095. The 8-bit values that "
            "Pillow reads of 16-bit color images are multiplied by 65535 / white.",
            {"white": preparation.white, "float_white": preparation.float_range},
        ),
        (
            "flatten",
            "Convert RGBa to RGBA, and lay it on the background.",
            {"background": [255, 255, 255]},
        ),
        (
            "profile",
            "Convert an embedded color profile to sRGB (relative colorimetric, with black point compensation), unless "
            "it changes no color by more than ignored_change.",
            {"target": "sRGB", "intent": "relative colorimetric", "ignored_change": MAX_SRGB_CHANGE},
        ),
        ("rgb", "Convert the image to RGB, a CMYK or gray one without a profile as Pillow does.", {}),
        (
            "pad",
            "Paste the image into the middle of a square of the color, at (size - width) // 2, (size - height) // 2, "
            "if it is smaller.",
            {"size": size, "color": list(PADDING)},
        ),
        ("orient", "Transpose the image by its EXIF orientation (tag 274).", {"tag": 274, "orientations": turns}),
    )
    return tuple(PreparationStep(step=name, text=text, values=values) for name, text, values in steps)


def _find_accuracy(result: Result) -> ExportAccuracy:
    if result.test:
        test = result.test
        return ExportAccuracy(value=test.accuracy, interval=test.interval, num_images=test.num_images, images="test")
    total = result.data.counts.validation
    interval = wilson_interval(result.val_accuracy * total, total)
    return ExportAccuracy(value=result.val_accuracy, interval=interval, num_images=total, images="validation")


def _describe_model(result: Result) -> str:
    """Returns the model card in a few sentences. The report writes the whole one."""
    data: DataSummary = result.data
    finetune = result.config.finetune
    kind = "CNN, trained with a teacher" if result.config.training.teacher else "CNN, trained from scratch"
    if finetune:
        backbone = "model of another run" if finetune.weights.endswith(".keras") else name_backbone(finetune)
        kind = f"{backbone}, fine-tuned ({finetune.strategy})"
    accuracy = _find_accuracy(result)
    low, high = accuracy.interval
    names = ", ".join(data.classes[:20]) + (f" and {len(data.classes) - 20:,} more" if len(data.classes) > 20 else "")
    return (
        f"{result.name}: a {kind}, on {data.counts.train:,} images of {data.name} (hash {data.hash}). It classifies "
        f"photographs that resemble them as one of {len(data.classes):,} classes: {names}. Accuracy on "
        f"{accuracy.num_images:,} {accuracy.images} images: {accuracy.value:.1%} (95 % interval {low:.1%} to "
        f"{high:.1%}). An image of anything else gets one of these classes as well."
    )
