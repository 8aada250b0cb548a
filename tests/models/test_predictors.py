"""The choice between the exported model and Keras, and the functions of both."""

import sys

import keras
import numpy as np
import pytest

from keras_inat.errors import UserError
from keras_inat.models.prediction import predict_images
from keras_inat.models.predictors import open_export, wrap_model
from keras_inat.store.runs import RunFolder

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "train-best/tiny", "train-best")


def test_an_export_has_probabilities_and_maps(run, write_exported_run, capsys):
    compute = write_exported_run(run.path)
    probabilities, maps = compute(PIXELS)
    predictor = open_export(run, run.read_result().data)
    assert predictor.runtime.startswith("ONNX Runtime 1.")
    assert predictor.model is None
    np.testing.assert_allclose(predictor.predict(PIXELS), probabilities, atol=1e-6)
    np.testing.assert_allclose(predictor.predict(PIXELS[:1]), probabilities[:1], atol=1e-6)
    np.testing.assert_allclose(predictor.compute_maps(PIXELS), maps, atol=1e-5)
    assert capsys.readouterr().err == ""


def test_an_export_may_have_no_maps(run, write_exported_run):
    write_exported_run(run.path, with_maps=False)
    assert open_export(run).compute_maps is None


def test_without_an_export_there_is_no_warning(run, capsys):
    assert open_export(run) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("export/contract.json", "{"),
        ("export/contract.json", None),
        ("export/export.json", "{}"),
        ("export/model.onnx", ""),
        ("best.keras", "another model"),
    ],
)
def test_an_export_that_does_not_fit_is_one_warning(run, write_exported_run, capsys, file, content):
    write_exported_run(run.path)
    (run.path / file).unlink()
    if content is not None:
        (run.path / file).write_text(content)
    assert open_export(run) is None
    assert capsys.readouterr().err.endswith(
        f"warning: {run.export / 'model.onnx'} does not belong to best.keras, or it was not compared with it: Keras "
        f"predicts instead, and `keras-inat export RUN={run.path}` exports it again\n"
    )


def test_an_export_for_other_images_is_not_used(run, write_exported_run, build_result, capsys):
    write_exported_run(run.path)
    assert open_export(run, build_result(image_size=32).data) is None
    assert open_export(run, build_result(classes=("a", "b", "c")).data) is None
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_missing_or_failing_runtime_is_one_warning(run, write_exported_run, monkeypatch, capsys):
    write_exported_run(run.path)
    onnxruntime = sys.modules["onnxruntime"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert open_export(run) is None
    assert "needs ONNX Runtime (pip install 'keras-inat[export]'): Keras predicts instead" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime)

    def fail(*args, **options):
        raise RuntimeError("no\n memory")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    assert open_export(run) is None
    assert "cannot be loaded (no memory): Keras predicts instead" in capsys.readouterr().err


def test_keras_predicts_the_same_pixels():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(inputs)))
    predictor = wrap_model(model)
    assert predictor.runtime == f"Keras {keras.__version__}"
    assert predictor.model is model
    assert predictor.compute_maps is None
    np.testing.assert_allclose(
        predictor.predict(PIXELS), model.predict(PIXELS.astype(np.float32), verbose=0), atol=1e-6
    )


def test_probabilities_that_are_no_numbers_are_an_error():
    def predict(pixels):
        return np.array([[0.4, 0.6], [np.nan, np.nan]], np.float32)

    images = [(name, np.zeros((2, 2, 3), np.uint8)) for name in ("a.png", "b.png")]
    with pytest.raises(UserError, match=r"the model predicts no finite probabilities for b\.png"):
        list(predict_images(predict, images))
