"""The Space for Hugging Face: its program predicts what the model predicts, and its card has the metadata."""

import importlib.util
import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from keras_inat.data.decode import MAX_ASPECT, MAX_PIXELS, MIN_SIDE, decode_image
from keras_inat.export.app.space import write_space
from keras_inat.export.exports import export_run
from keras_inat.models.model_files import load_model
from keras_inat.settings.yaml_files import read_yaml
from keras_inat.store.records import Preparation

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")

HOSTILE = ("a: b\n---\n", "<script>", "#x")


@pytest.fixture
def make_space(add_run, tmp_path):
    """Writes the Space of a run. Returns its folder, its program as a module, and the model."""

    def make(license_=None, **data):
        run, result = add_run(**data)
        contract, _ = export_run(run, result, ["onnx"], license_)
        space = tmp_path / "space"
        write_space(space, run.export / "model.onnx", contract, result.data.name, "# Card\n")
        spec = importlib.util.spec_from_file_location("space_app", space / "app.py")
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        return space, program, load_model(run.model)

    return make


def write_files(folder):
    """Writes pictures in the formats that differ."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    picture = noise.resize((700, 513), Image.Resampling.BICUBIC)
    small = noise.resize((91, 60), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6
    alpha = small.convert("RGBA")
    alpha.putalpha(noise.getchannel(0).resize(small.size))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    picture.save(folder / "large.jpg", quality=95, exif=turned)
    small.convert("CMYK").save(folder / "cmyk.jpg")
    small.save(folder / "profile.jpg", icc_profile=profile.tobytes())
    small.save(folder / "broken-profile.png", icc_profile=b"no profile")
    small.save(folder / "plain.bmp")
    alpha.save(folder / "alpha.png")
    small.quantize(20).save(folder / "palette.png", transparency=3)
    small.convert("L").save(folder / "gray.webp", lossless=True)
    Image.fromarray(rng.integers(0, 1024, (40, 50), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(rng.random((40, 50), dtype=np.float32)).save(folder / "floating.tiff")


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_the_program_predicts_what_keras_predicts(make_space, workplace, fit):
    _, program, model = make_space(fit=fit, bit_depth=10)
    assert "gradio" not in sys.modules
    files = workplace / "files"
    files.mkdir()
    write_files(files)
    assert len(list(files.iterdir())) == 10
    for path in files.iterdir():
        pixels = decode_image(path.read_bytes(), 16, Preparation(fit=fit, bit_depth=10))
        np.testing.assert_array_equal(program.prepare(path.read_bytes()), pixels, err_msg=path.name)
        expected = np.asarray(model(pixels[None].astype(np.float32)))[0]
        probabilities, picture = program.predict(str(path))
        assert list(probabilities) == ["blue", "green", "red"]
        np.testing.assert_allclose(list(probabilities.values()), expected, atol=1e-5)
        assert picture.shape == (16, 16, 3)
        assert (picture != pixels).any()


def test_a_temperature_calibrates(make_space):
    _, program, _ = make_space()
    program.CONTRACT["temperature"] = 2.0
    np.testing.assert_allclose(program.calibrate(np.array([0.64, 0.36, 0.0])), [0.8 / 1.4, 0.6 / 1.4, 0], atol=1e-6)


def test_a_file_that_is_refused_has_a_reason(make_space):
    _, program, _ = make_space()
    assert (program.MIN_SIDE, program.MAX_ASPECT, program.MAX_PIXELS) == (MIN_SIDE, MAX_ASPECT, MAX_PIXELS)
    refused = {b"no image": "cannot be decoded", b"\xff\xd8\xff\xe0 cut": "cannot be decoded"}
    for size in ((1, 1), (400, 20)):
        content = io.BytesIO()
        Image.new("RGB", size).save(content, "png")
        refused[content.getvalue()] = f"{size[0]} x {size[1]} pixels"
    for content, reason in refused.items():
        with pytest.raises(ValueError, match=reason):
            program.prepare(content)


def test_the_card_has_front_matter_with_the_accuracy(make_space, tmp_path):
    space, _, _ = make_space("CC BY 4.0, see below", classes=HOSTILE, name="birds: of # prey")
    assert sorted(path.name for path in space.iterdir()) == [
        "README.md", "app.py", "contract.json", "model.onnx", "requirements.txt",
    ]  # fmt: skip
    _, front, card = (space / "README.md").read_text().split("---\n", 2)
    assert card == "\n# Card\n"
    (tmp_path / "front.yaml").write_text(front)
    values = read_yaml(tmp_path / "front.yaml")
    assert {name: values[name] for name in ("sdk", "app_file", "license", "license_name")} == {
        "sdk": "gradio", "app_file": "app.py", "license": "other", "license_name": "CC BY 4.0, see below",
    }  # fmt: skip
    [entry] = values["model-index"]
    [evaluation] = entry["results"]
    assert evaluation["dataset"] == {"name": "birds: of # prey", "type": "birds-of-prey", "split": "test"}
    [metric] = evaluation["metrics"]
    assert metric == {"type": "accuracy", "value": 0.5, "name": "Accuracy (95 % interval 40.0% to 60.0%, n = 100)"}
