import inspect
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet
from keras.src.legacy.saving import legacy_h5_format

from keras_inat.errors import UserError
from keras_inat.explain.networks import build_logits_model
from keras_inat.models.backbones import BACKBONES, HEAD
from keras_inat.models.cnn import build_cnn
from keras_inat.models.pretrained import build_finetune, get_features, preprocess
from keras_inat.settings.schema import Finetune, Model
from keras_inat.training.evaluation_model import clone_for_training


def test_every_image_model_of_keras_has_a_row():
    assert {name for name in dir(keras.applications) if name[0].isupper()} == set(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_pixels_have_the_range_of_the_backbones_own_preprocessing(name):
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 5, 3)).astype("float32")
    expected = inspect.getmodule(getattr(keras.applications, name)).preprocess_input(images.copy())
    inputs = keras.Input((5, 5, 3))
    ours = keras.Model(inputs, preprocess(inputs, BACKBONES[name].preprocessing))(images)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_backbone_with_a_new_head_is_flat():
    model = build_finetune(Finetune(backbone="MobileNetV2", weights="none"), 32, 4)
    assert model.output_shape == (None, 4)
    assert [layer.name for layer in model.layers[-2:]] == list(HEAD)
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]


def test_weights_from_a_file_are_the_weights_of_the_model(tmp_path):
    keras.utils.set_random_seed(1)
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    backbone.save_weights(tmp_path / "w.weights.h5")
    model = build_finetune(Finetune(backbone="MobileNetV2", weights=str(tmp_path / "w.weights.h5")), 32, 4)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = backbone(images / 127.5 - 1, training=False).numpy().mean(axis=(1, 2))
    features = keras.Model(model.input, get_features(model))(images, training=False)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def write_h5(model, path):
    """Writes weights in the format of keras.applications."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def test_an_efficientnet_is_the_same_from_a_file_and_from_keras(tmp_path, monkeypatch):
    # The stem and the first of seven blocks: what Keras does differently with "imagenet" is in front of them.
    monkeypatch.setattr(efficientnet, "DEFAULT_BLOCKS_ARGS", efficientnet.DEFAULT_BLOCKS_ARGS[:1])
    keras.utils.set_random_seed(1)
    backbone = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    (normalization,) = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Normalization)]
    normalization.set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.04, 0.05, 0.06]), np.array(1)])
    path = str(tmp_path / "efficientnetb0_notop.h5")
    write_h5(backbone, path)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *arguments, **named: path)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    features = []
    for weights in ("imagenet", path):
        model = build_finetune(Finetune(backbone="EfficientNetB0", weights=weights), 32, 4)
        features.append(keras.Model(model.input, get_features(model))(images).numpy())
    np.testing.assert_allclose(*features, rtol=1e-3, atol=1e-5)
    plain = backbone(images).numpy().mean(axis=(1, 2))
    assert np.abs(features[0] - plain).max() > 0.01 * np.abs(plain).max()
    # The training model, a model fine-tuned from it and a copy for explanations have the same normalization.
    model.save(tmp_path / "best.keras")
    finetuned = build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 32, 4)
    for other in (clone_for_training(model, any_size=False), finetuned, build_logits_model(model)):
        received = keras.Model(other.inputs[0], get_features(other))(images)
        np.testing.assert_allclose(received, features[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "file", "alpha"),
    [
        ("MobileNet", "mobilenet_2_5_224_tf_no_top.h5", 0.25),
        ("MobileNet", "mobilenet_1_0_224_tf_no_top.h5", 1.0),
        ("MobileNetV2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5", 0.35),
        ("MobileNetV3Small", "weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5", 0.75),
    ],
)
def test_the_width_multiplier_of_a_mobilenet_comes_from_its_file_name(monkeypatch, tmp_path, backbone, file, alpha):
    h5py.File(tmp_path / file, "w").close()
    given = {}

    def build(include_top, pooling, input_tensor, **options):
        given.update(options)
        return SimpleNamespace(output=input_tensor, get_weights=list)

    monkeypatch.setattr(keras.applications, backbone, build)
    build_finetune(Finetune(backbone=backbone, weights=str(tmp_path / file)), 32, 4)
    assert given == {"weights": str(tmp_path / file), "alpha": alpha}


def test_a_narrow_mobilenet_takes_its_own_weights(tmp_path):
    narrow = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3))
    path = tmp_path / "mobilenet_2_5_224_tf_no_top.h5"
    write_h5(narrow, path)
    model = build_finetune(Finetune(backbone="MobileNet", weights=str(path)), 32, 4)
    assert get_features(model).shape == (None, 256)
    np.testing.assert_array_equal(model.get_layer("conv1").get_weights()[0], narrow.get_layer("conv1").get_weights()[0])


def test_a_failed_download_names_the_alternatives(monkeypatch, capsys):
    def fail(name, origin, **named):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", fail)
    with pytest.raises(UserError) as error:
        build_finetune(Finetune(backbone="MobileNetV2"), 32, 3)
    for words in (
        "1.0_224_no_top.h5: None -- [Errno -3]",
        "connect to the network, or download that file",
        "WEIGHTS=none",
    ):
        assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "(9 MB)" in capsys.readouterr().out


def test_a_trained_model_as_backbone(tmp_path):
    cnn = build_cnn(Model(filters=4, num_blocks=2), 16, 3)
    cnn.save(tmp_path / "best.keras")
    model = build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 16, 5)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    expected = keras.Model(cnn.input, cnn.get_layer("block2_pool").output)(images).numpy().mean(axis=(1, 2))
    received = keras.Model(model.input, get_features(model))(images)
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    assert model.output_shape == (None, 5)
    with pytest.raises(UserError, match=r"trained on 16 px images: set data\.image_size=16"):
        build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 32, 5)


def test_all_ensemble_members_are_the_backbone(tmp_path):
    cnn = build_cnn(Model(filters=4, num_blocks=2, ensemble_size=2), 16, 3)
    cnn.save(tmp_path / "best.keras")
    model = build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 16, 5)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    maps = [cnn.get_layer(f"{prefix}block2_pool").output for prefix in ("", "member2_")]
    expected = np.concatenate([part.numpy().mean(axis=(1, 2)) for part in keras.Model(cnn.input, maps)(images)], axis=1)
    received = keras.Model(model.input, get_features(model))(images)
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    model.save(tmp_path / "again.keras")
    again = build_finetune(Finetune(weights=str(tmp_path / "again.keras")), 16, 5)
    received = keras.Model(again.input, get_features(again))(images)
    np.testing.assert_allclose(received, expected, rtol=1e-5)


def test_a_fine_tuned_model_as_backbone(tmp_path):
    build_finetune(Finetune(backbone="MobileNet", weights="none"), 32, 4).save(tmp_path / "best.keras")
    assert build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 32, 2).output_shape == (None, 2)


def test_a_fine_tuned_convnext_keeps_its_last_normalization(tmp_path):
    build_finetune(Finetune(backbone="ConvNeXtTiny", weights="none"), 32, 4).save(tmp_path / "best.keras")
    first = keras.models.load_model(tmp_path / "best.keras", compile=False)
    again = build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 32, 2)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    received = keras.Model(again.input, get_features(again))(images)
    np.testing.assert_allclose(received, keras.Model(first.input, get_features(first))(images), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.mean(received, axis=1), 0, atol=1e-4)


def test_frozen_layers_of_a_file_become_trainable(tmp_path):
    network = build_finetune(Finetune(backbone="MobileNet", weights="none"), 32, 4)
    count = len(network.trainable_weights)
    for layer in network.layers[:-1]:
        layer.trainable = False
    network.save(tmp_path / "best.keras")
    assert len(build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 32, 4).trainable_weights) == count


@pytest.mark.parametrize(
    ("settings", "size", "words"),
    [
        ({"backbone": "ResNet5"}, 64, "Did you mean 'ResNet50'?"),
        ({"backbone": "InceptionV3", "weights": "none"}, 64, "InceptionV3 needs `data.image_size` of at least 75"),
        ({"weights": "nowhere.h5"}, 64, "'nowhere.h5' does not exist"),
        ({"weights": "nowhere.keras"}, 64, "'nowhere.keras' does not exist"),
        ({"weights": "imagnet"}, 64, "`finetune.weights` must be 'imagenet', 'none'"),
    ],
)
def test_invalid_settings_are_refused(settings, size, words):
    with pytest.raises(UserError) as error:
        build_finetune(Finetune(**settings), size, 3)
    assert words in str(error.value)


def test_scaled_training_images_below_the_minimum_are_refused():
    with pytest.raises(UserError, match=r"Received: 100, which `training\.image_scales` reduces to 50\."):
        build_finetune(Finetune(backbone="InceptionV3", weights="none"), 100, 3, smallest=50)


@pytest.mark.parametrize(("name", "size"), [("MobileNetV2", 40), ("Xception", 71)])
def test_a_training_model_for_any_size_is_the_network_of_that_size(name, size):
    settings = Finetune(backbone=name, weights="none", dropout=0)
    trained = clone_for_training(build_finetune(settings, 96, 3), any_size=True)
    fixed = build_finetune(settings, size, 3)
    fixed.set_weights(trained.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype("float32")
    np.testing.assert_allclose(trained(images), fixed(images), rtol=1e-5)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_files_without_weights_are_refused(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match=rf"w\{suffix} cannot be loaded: "):
        build_finetune(Finetune(weights=str(path)), 32, 3)


def test_layers_of_a_foreign_model_may_have_the_names_of_the_new_ones(tmp_path):
    image = keras.Input((16, 16, 3))
    x = image
    for name in (*HEAD, "pool", "ensemble", "image"):
        x = keras.layers.Conv2D(4, 1, name=name, activation="relu")(x)
    path = tmp_path / "plain.keras"
    network = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x), name="foreign")
    network.save(path)
    model = build_finetune(Finetune(weights=str(path)), 16, 5)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    received = keras.Model(model.input, get_features(model))(images)
    np.testing.assert_allclose(received, network(images), rtol=1e-5)


def test_a_foreign_model_for_any_size_has_the_chosen_one(tmp_path):
    keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)]).save(tmp_path / "any.keras")
    model = build_finetune(Finetune(weights=str(tmp_path / "any.keras")), 24, 5)
    assert model.input_shape == (None, 24, 24, 3)
    assert get_features(model).shape == (None, 4)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((7,), r"takes inputs of shape \(7,\): a backbone takes square RGB images"),
        ((16, 16, 1), "a backbone takes square RGB images"),
        ((16, 24, 3), "a backbone takes square RGB images"),
        ((8, 8, 3), r"trained on 8 px images: set data\.image_size=8"),
    ],
)
def test_a_foreign_model_of_other_inputs_is_refused(tmp_path, shape, words):
    image = keras.Input(shape)
    keras.Model(image, keras.layers.Dense(3)(image)).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match=words):
        build_finetune(Finetune(weights=str(tmp_path / "other.keras")), 16, 5)


def test_a_foreign_model_that_is_named_like_ours_needs_features(tmp_path):
    image = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    for number, outputs in enumerate([image, pooled]):
        path = tmp_path / f"{number}.keras"
        keras.Model(image, keras.layers.Dense(3, name="predictions")(outputs), name="finetune").save(path)
        with pytest.raises(UserError, match="no layer with a kernel lies between its images and the input of its head"):
            build_finetune(Finetune(weights=str(path)), 16, 5)


def test_a_model_with_several_inputs_or_outputs_is_refused(tmp_path):
    image = keras.Input((16, 16, 3))
    keras.Model(image, [keras.layers.Flatten()(image), image]).save(tmp_path / "two.keras")
    with pytest.raises(UserError, match="it has 1 inputs and 2 outputs, not one of each"):
        build_finetune(Finetune(weights=str(tmp_path / "two.keras")), 16, 5)
