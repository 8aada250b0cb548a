import keras
import numpy as np
import pytest

from keras_inat.export.exports import export_run
from keras_inat.export.graph import build_export_model, use_float32
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import override

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def build(config, **changes):
    keras.utils.set_random_seed(0)
    changed = override(config, {f"model.{name}": value for name, value in changes.items()})
    return build_cnn(changed.model, 16, 3)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_the_mean_of_a_map_is_the_logit_of_its_class(small):
    model = build(small)
    bias = model.get_layer("predictions").bias
    bias.assign([0.5, -1.0, 0.25])
    outputs = build_export_model(model).predict_on_batch(IMAGES)
    assert outputs["class_activation_maps"].shape == (3, 4, 4, 3)
    logits = outputs["class_activation_maps"].mean(axis=(1, 2)) + bias.numpy()
    np.testing.assert_allclose(softmax(logits), outputs["probabilities"], atol=1e-6)
    expected = model.predict_on_batch(IMAGES.astype(np.float32))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-7)


def test_the_maps_of_an_ensemble_are_the_means_of_its_members(small):
    model = build(small, ensemble_size=2)
    kernels = [model.get_layer(f"member{number}_predictions").kernel.numpy() for number in (1, 2)]
    features = [model.get_layer(f"{prefix}block2_pool").output for prefix in ("", "member2_")]
    maps = keras.Model(model.input, features).predict_on_batch(IMAGES.astype(np.float32))
    expected = (maps[0] @ kernels[0] + maps[1] @ kernels[1]) / 2
    outputs = build_export_model(model).predict_on_batch(IMAGES)
    np.testing.assert_allclose(outputs["class_activation_maps"], expected, atol=1e-5)


@pytest.mark.parametrize("changes", [{"pooling": "flatten"}, {"pooling": "max"}, {"dense_units": 5}])
def test_other_heads_have_no_maps(small, changes):
    assert list(build_export_model(build(small, **changes)).output) == ["probabilities"]


def test_layers_of_backbones_that_onnx_cannot_express_are_changed_without_effect(add_run):
    """An EfficientNet normalizes with tensors from outside the graph, and a ConvNeXt has grouped convolutions."""
    pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Normalization(mean=[100.0, 110.0, 120.0], variance=[900.0, 400.0, 2500.0])(inputs)
    x = keras.layers.Conv2D(6, 3, groups=3, padding="same", strides=2, bias_initializer="ones")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("gelu")(x))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    expected = model(IMAGES.astype(np.float32)).numpy()
    run, result = add_run(model)
    export_run(run, result, ["onnx"])
    session = onnxruntime.InferenceSession(run.export / "model.onnx")
    [probabilities] = session.run(["probabilities"], {"image": IMAGES})
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3


def test_a_model_that_was_trained_in_half_precision_computes_in_single(small):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(small)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("block1_conv").compute_dtype == "bfloat16"
    single = use_float32(model)
    assert {layer.compute_dtype for layer in single.layers} == {"float32"}
    for before, after in zip(model.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert use_float32(single) is single
