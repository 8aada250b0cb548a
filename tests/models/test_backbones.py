import importlib

import keras
import numpy as np
import pytest

from keras_inat.errors import UserError
from keras_inat.models.backbones import BACKBONES, HEAD, build_finetune, preprocess
from keras_inat.models.cnn import build_cnn
from keras_inat.sections import Finetune, Model

MODULES = {
    "ConvNeXtTiny": "convnext",
    "DenseNet121": "densenet",
    "EfficientNetV2B0": "efficientnet_v2",
    "EfficientNetV2B3": "efficientnet_v2",
    "EfficientNetV2S": "efficientnet_v2",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3",
    "ResNet50": "resnet50",
    "ResNet50V2": "resnet_v2",
    "VGG16": "vgg16",
    "Xception": "xception",
}


@pytest.mark.parametrize("name", BACKBONES)
def test_pixels_arrive_in_the_range_of_the_backbones_own_preprocessing(name):
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 5, 3)).astype("float32")
    expected = importlib.import_module(f"keras.applications.{MODULES[name]}").preprocess_input(images.copy())
    inputs = keras.Input((5, 5, 3))
    ours = keras.Model(inputs, preprocess(inputs, BACKBONES[name].pixels))(images)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_backbone_with_a_new_head_is_flat():
    model = build_finetune(Finetune(backbone="MobileNetV2", weights="none"), 32, 4)
    assert model.output_shape == (None, 4)
    assert [layer.name for layer in model.layers[-3:]] == list(HEAD)
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]


def test_weights_from_a_file_are_the_weights_of_the_model(tmp_path):
    keras.utils.set_random_seed(1)
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    backbone.save_weights(tmp_path / "w.weights.h5")
    model = build_finetune(Finetune(backbone="MobileNetV2", weights=str(tmp_path / "w.weights.h5")), 32, 4)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = backbone(images / 127.5 - 1, training=False).numpy().mean(axis=(1, 2))
    features = keras.Model(model.input, model.get_layer("head_pool").output)(images, training=False)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_one_of_our_own_models_as_backbone(tmp_path):
    cnn = build_cnn(Model(filters=4, num_blocks=2), 16, 3)
    cnn.save(tmp_path / "best.keras")
    model = build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 16, 5)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    expected = keras.Model(cnn.input, cnn.get_layer("block2_pool").output)(images).numpy().mean(axis=(1, 2))
    received = keras.Model(model.input, model.get_layer("head_pool").output)(images)
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    assert model.output_shape == (None, 5)
    with pytest.raises(UserError, match=r"trained on 16 px images: set data\.image_size=16"):
        build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 32, 5)


def test_a_model_fine_tuned_before_is_a_backbone_too(tmp_path):
    build_finetune(Finetune(backbone="MobileNet", weights="none"), 32, 4).save(tmp_path / "best.keras")
    assert build_finetune(Finetune(weights=str(tmp_path / "best.keras")), 32, 2).output_shape == (None, 2)


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
def test_mistakes(settings, size, words):
    with pytest.raises(UserError) as error:
        build_finetune(Finetune(**settings), size, 3)
    assert words in str(error.value)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_files_that_hold_no_weights(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"does not fit MobileNetV2|is not a model of ours"):
        build_finetune(Finetune(weights=str(path)), 32, 3)
