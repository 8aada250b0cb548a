"""Exports of layers that Keras computes in unusual ways: those that begin an EfficientNet and that fill a ConvNeXt."""

import keras
import pytest
from keras import layers

from keras_inat.export.exports import export_run

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")


def test_a_normalization_and_a_grouped_convolution_are_exported(add_run):
    import onnxruntime

    image = keras.Input((16, 16, 3))
    normal = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[60.0, 70.0, 80.0])(image)
    maps = layers.Conv2D(4, 3, groups=4)(layers.Conv2D(4, 3)(normal))
    features = layers.GlobalAveragePooling2D()(maps)
    run, result = add_run(keras.Model(image, layers.Dense(3, activation="softmax")(features)))
    _, report = export_run(run, result, ["onnx"])
    assert report.find("onnx").max_difference < 1e-4
    session = onnxruntime.InferenceSession(run.export / "model.onnx")
    assert [value.name for value in session.get_inputs()] == ["image"]
