"""A Space that classifies images with an exported model. `contract.json` describes the model and its input."""

import contextlib
import functools
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageCms

FOLDER = Path(__file__).parent
CONTRACT = json.loads((FOLDER / "contract.json").read_text(encoding="utf-8"))
SIZE = CONTRACT["input"]["size"]
STEPS = {step["step"]: step["values"] for step in CONTRACT["steps"]}  # the preparation of an image file
MIN_SIDE, MAX_ASPECT, MAX_PIXELS = 8, 10, 2**27  # of images that are not refused
NUM_CLASSES = 5  # that are shown
PROBE = bytes(itertools.chain.from_iterable(itertools.product(range(0, 256, 51), repeat=3)))  # colors of a profile
PROFILES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
RAMP = np.array([[92, 0, 142], [224, 58, 62], [255, 222, 80]], np.float64)  # weakest to strongest region


def predict(path: str) -> tuple[dict[str, float], np.ndarray]:
    """Returns calibrated probabilities by class, and the image `(size, size, 3)` with the map of the first class.

    Without class-activation maps in the model, the image has no map.

    Raises:
        ValueError: The file is no image that the model accepts.
    """
    pixels = prepare(Path(path).read_bytes())
    session = _open_session()
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {CONTRACT["input"]["name"]: pixels[None]}), strict=True))
    probabilities = calibrate(outputs["probabilities"][0])
    best = dict(zip(CONTRACT["classes"], map(float, probabilities), strict=True))
    maps = outputs.get("class_activation_maps")
    return best, pixels if maps is None else draw_map(pixels, maps[0, :, :, probabilities.argmax()])


@functools.cache
def _open_session() -> Any:
    return onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])


def calibrate(probabilities: np.ndarray) -> np.ndarray:
    """Returns softmax(log(probabilities) / temperature)."""
    scaled = np.log(np.maximum(probabilities.astype(np.float64), 1e-38)) / (CONTRACT["temperature"] or 1)
    powers = np.exp(scaled - scaled.max())
    return powers / powers.sum()


def prepare(content: bytes) -> np.ndarray:
    """Converts an image file to the model's input `(size, size, 3)`, uint8 sRGB, as the steps of the contract say."""
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        _check_size(*image.size)
        image.draft(None, (STEPS["decode"]["jpeg_side"],) * 2)
        tile = str(getattr(image, "tile", [])[:1])  # it shows the bits of a value until the pixels are loaded
        image.load()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the image cannot be decoded: {error}") from None
    profile = image.info.get("icc_profile")
    orientation = 1
    with contextlib.suppress(Exception):  # the pixels may be intact although the EXIF data are damaged
        orientation = int(image.getexif().get(STEPS["orient"]["tag"], 1))
    is_transparent = image.mode in ("1", "L", "P", "RGB") and image.has_transparency_data
    for mode in STEPS["convert"]["transparent"] if is_transparent else STEPS["convert"]["modes"][image.mode]:
        image = image.convert(mode)
    small = _flatten(_resize(image), _find_white(image, tile), ";16" in tile and image.format != "BMP")
    small = _convert_profile(small, profile) if profile else small.convert("RGB")
    square = Image.new("RGB", (SIZE, SIZE), tuple(STEPS["pad"]["color"]))
    square.paste(small, ((SIZE - small.width) // 2, (SIZE - small.height) // 2))
    turn = STEPS["orient"]["orientations"].get(str(orientation))
    return np.asarray(square.transpose(Image.Transpose[turn]) if turn else square)


def _check_size(width: int, height: int) -> None:
    shorter, longer = sorted((width, height))
    if width * height > MAX_PIXELS or shorter < MIN_SIDE or longer > MAX_ASPECT * shorter:
        raise ValueError(f"the image is too small, too large, or too long and thin: {width} x {height} pixels")


def _find_white(image: Image.Image, tile: str) -> float:
    """Returns the value of pixels with more than 8 bits that becomes white."""
    if image.mode == "F":
        return float(STEPS["scale"]["float_white"])
    if image.mode.startswith("I") and (image.format == "PPM" or ";12" in tile):
        return 65535 if image.format == "PPM" else 4095
    return float(STEPS["scale"]["white"])


def _resize(image: Image.Image) -> Image.Image:
    width, height = image.size
    fit = STEPS["resize"]["fit"]
    target = (SIZE, SIZE)
    box = (0.0, 0.0, float(width), float(height))
    if fit == "crop":
        side = min(image.size)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    elif fit == "pad":
        scale = SIZE / max(image.size)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(target, Image.Resampling.BILINEAR, box)


def _flatten(image: Image.Image, white: float, is_deep: bool) -> Image.Image:
    """Converts to 8 bits and puts transparent pixels on the background. `is_deep`: Pillow kept 8 of 16 bits."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64) * 255 / white
        return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    if is_deep and white < 65535:
        table = [min(255, round(value * 65535 / white)) for value in range(256)]
        image = image.point(table * 3 + list(range(256)) if image.mode == "RGBA" else table * len(image.getbands()))
    if image.mode == "RGBA":
        background = Image.new("RGBA", image.size, (*STEPS["flatten"]["background"], 255))
        image = Image.alpha_composite(background, image).convert("RGB")
    return image if image.mode in PROFILES.values() else image.convert("RGB")


def _convert_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts colors to sRGB. A damaged profile, or one for other colors, is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        given = PROFILES[source.profile.xcolor_space.strip()]
        if (image.mode, given) not in {("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")}:
            return image.convert("RGB")
        transform = ImageCms.ImageCmsTransform(
            source, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), given, "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
        probe = Image.frombytes("RGB", (len(PROBE) // 3, 1), PROBE).convert(given)
        change = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
        is_ignored = np.abs(change).max() <= STEPS["profile"]["ignored_change"]
        return image.convert("RGB") if is_ignored else transform.apply(image.convert(given))
    except Exception:  # a broken profile may raise any exception
        return image.convert("RGB")


def draw_map(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns an image with the regions that raise a class in color. `values` is `(rows, columns)`."""
    levels = np.maximum(values, 0) / max(float(values.max()), 1e-9)
    whole = Image.fromarray(levels.astype(np.float32)).resize(pixels.shape[1::-1], Image.Resampling.BILINEAR)
    level = np.asarray(whole)[..., None].clip(0, 1)
    places = np.linspace(0, 1, len(RAMP))
    colors = np.stack([np.interp(level[..., 0], places, RAMP[:, channel]) for channel in range(3)], axis=-1)
    return (pixels + 0.8 * level * (colors - pixels)).astype(np.uint8)


def build_page() -> Any:
    """Builds the page of the Space."""
    import gradio

    def classify(path: str | None) -> tuple[dict[str, float] | None, np.ndarray | None]:
        if path is None:
            return None, None
        try:
            return predict(path)
        except ValueError as error:
            raise gradio.Error(str(error)) from None

    # `image_mode=None` keeps the file as it is, with its alpha channel and its orientation.
    image = gradio.Image(type="filepath", image_mode=None, label="Image")
    outputs = [gradio.Label(num_top_classes=NUM_CLASSES, label="Class"), gradio.Image(label="Class-activation map")]
    return gradio.Interface(classify, image, outputs, title=CONTRACT["name"], description=CONTRACT["card"])


if __name__ == "__main__":
    build_page().launch()
