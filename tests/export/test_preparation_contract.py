"""The contract proves itself: another program prepares images from the JSON alone, and gets the same probabilities."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_inat.data.decode import decode_image
from keras_inat.export.exports import export_run
from keras_inat.models.model_files import load_model
from keras_inat.models.predictors import wrap_model
from keras_inat.store.records import Preparation

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")


def prepare(path, contract):
    """Prepares an image file as the contract says, by Pillow and NumPy."""
    steps = {step["step"]: step["values"] for step in contract["steps"]}
    assert list(steps) == ["decode", "convert", "resize", "scale", "flatten", "profile", "rgb", "pad", "orient"]
    image = Image.open(path)
    image.draft(None, (steps["decode"]["jpeg_side"],) * 2)
    image.load()
    turn = steps["orient"]["orientations"].get(str(image.getexif().get(steps["orient"]["tag"])))

    conversions = steps["convert"]["modes"][image.mode]
    if image.mode in ("1", "L", "P", "RGB") and image.has_transparency_data:
        conversions = steps["convert"]["transparent"]
    for mode in conversions:
        image = image.convert(mode)

    size = steps["resize"]["size"]
    width, height = image.size
    box = (0, 0, width, height)
    target = (size, size)
    if steps["resize"]["fit"] == "crop":
        side = min(width, height)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    elif steps["resize"]["fit"] == "pad":
        scale = size / max(width, height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = image.resize(target, Image.Resampling[steps["resize"]["filter"]], box)

    if image.mode[0] in "IF":
        white = steps["scale"]["float_white" if image.mode == "F" else "white"]
        values = np.asarray(image, np.float64) * 255 / white
        image = Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))
    if image.mode == "RGBa":
        background = Image.new("RGBA", image.size, tuple(steps["flatten"]["background"]))
        image = Image.alpha_composite(background, image.convert("RGBA"))
    image = image.convert("RGB")
    if image.size != (size, size):
        square = Image.new("RGB", (size, size), tuple(steps["pad"]["color"]))
        square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        image = square
    return np.asarray(image.transpose(Image.Transpose[turn]) if turn else image)


def draw(mode, size):
    """Returns a picture with smooth colors, edges and noise."""
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "I;16": 1}[mode]
    layers = [0.5 + 0.4 * np.sin(9 * (x + k * y)) * (np.hypot(x - 0.4, y - 0.6) < 0.3 + k / 9) for k in range(bands)]
    values = np.clip(np.stack(layers, -1) + rng.normal(0, 0.02, (size[1], size[0], bands)), 0, 1)
    if mode == "I;16":
        return Image.fromarray((values[..., 0] * 1023).astype(np.uint16))
    pixels = (255 * values).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if bands == 1 else pixels, mode)


@pytest.fixture
def files(workplace):
    """Writes a picture in each of the formats that differ."""
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("RGB", (640, 460)).save("large.jpg", quality=95)
    draw("RGB", (90, 61)).save("small.jpg", quality=95)
    draw("RGB", (640, 460)).save("rotated.jpg", exif=exif, quality=95)
    draw("CMYK", (300, 200)).save("cmyk.jpg", quality=95)
    draw("L", (120, 200)).save("gray.png")
    draw("RGBA", (200, 151)).save("alpha.png")
    draw("RGB", (99, 70)).quantize(30).save("palette.png", transparency=3)
    draw("I;16", (150, 100)).save("deep.png")
    return sorted(workplace.glob("*.[jp]*g"))


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_another_program_gets_the_same_probabilities(add_run, files, fit):
    import onnxruntime

    run, result = add_run(fit=fit, bit_depth=10)
    export_run(run, result, ["onnx"])
    session = onnxruntime.InferenceSession(run.export / "model.onnx")
    contract = json.loads((run.export / "contract.json").read_text())
    model = load_model(run.model)
    assert len(files) == 8
    for path in files:
        pixels = prepare(path, contract)
        ours = decode_image(path.read_bytes(), 16, Preparation(fit=fit, bit_depth=10))
        [expected] = wrap_model(model).predict(ours[None])
        [probabilities] = session.run(["probabilities"], {"image": pixels[None]})
        assert expected.max() < 0.9, "a saturated model proves nothing"
        np.testing.assert_allclose(probabilities[0], expected, atol=1e-3, err_msg=path.name)
    # A wrong step is noticed: the gray of the padding, the crop or the alpha.
    wrong = dict(contract, steps=[dict(step, values=dict(step["values"])) for step in contract["steps"]])
    wrong["steps"][2]["values"]["fit"] = "squash" if fit != "squash" else "crop"
    [other] = session.run(["probabilities"], {"image": prepare("large.jpg", wrong)[None]})
    [right] = session.run(["probabilities"], {"image": prepare("large.jpg", contract)[None]})
    assert np.abs(other - right).max() > 1e-3
