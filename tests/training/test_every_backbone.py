"""Every backbone has its own pixel range and pooling, survives a file, and exactly the weights of a stage are trained.

`make test` runs one stage of some backbones, `make test-all` every stage of all backbones.
"""

import inspect

import keras
import numpy as np
import pytest

from keras_inat.models.backbones import BACKBONES, HEAD
from keras_inat.models.pretrained import build_finetune, get_features
from keras_inat.settings.schema import Finetune
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.stages import STRATEGIES, apply_stage

# One of each kind: nested, internal scaling, depthwise, squeeze-and-excitation, residual, plain, separable.
QUICK = (
    "ConvNeXtTiny",
    "EfficientNetB0",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "ResNet50",
    "VGG16",
    "Xception",
)
STAGE_OF_DEPTH = {stage.depth: stage for stages in STRATEGIES.values() for stage in stages}
EVERY = [(depth, norm) for depth in STAGE_OF_DEPTH for norm in ("frozen", "trained")]
SLOW = pytest.mark.slow
rng = np.random.default_rng(0)


@pytest.fixture
def build():
    """Builds a backbone with its head."""

    def build(name):
        keras.utils.set_random_seed(0)
        return build_finetune(Finetune(backbone=name, weights="none"), BACKBONES[name].min_size, 3)

    yield build
    keras.backend.clear_session()


def compute_features(name, images, weights):
    """Computes the pooled features of a network with Keras's own builder and preprocessing."""
    builder = getattr(keras.applications, name)
    network = builder(include_top=False, pooling="avg", weights=None, input_shape=images.shape[1:])
    network.set_weights(weights)
    return network(inspect.getmodule(builder).preprocess_input(images.copy()))


def draw_images(name):
    side = BACKBONES[name].min_size
    return rng.uniform(0, 255, (4, side, side, 3)).astype("float32")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else SLOW) for name in BACKBONES])
def test_features_training_step_and_file(build, tmp_path, name):
    model = build(name)
    assert sum(layer.count_params() for layer in model.layers if layer.name not in HEAD) == BACKBONES[name].parameters
    images = draw_images(name)
    backbone = keras.Model(model.input, get_features(model))
    received = backbone(images)
    expected = compute_features(name, images, backbone.get_weights())
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max()))
    check_a_step(model, images, None, "trained")
    model.save(tmp_path / "best.keras")
    reloaded = keras.models.load_model(tmp_path / "best.keras", compile=False)
    np.testing.assert_allclose(reloaded(images), model(images), rtol=1e-5, atol=1e-6)


@SLOW
@pytest.mark.parametrize("name", BACKBONES)
def test_a_step_changes_exactly_the_trainable_weights(build, name):
    model = clone_for_training(build(name), any_size=False)
    start = model.get_weights()
    for depth, norm in EVERY:
        model.set_weights(start)
        check_a_step(model, draw_images(name), depth, norm)


def check_a_step(model, images, depth, norm):
    apply_stage(model, STAGE_OF_DEPTH[depth], Finetune(unfreeze=3, batch_norm=norm))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # an EfficientNet drops whole blocks, sometimes for all four images
    start = model.get_weights()
    # Lion uses the sign of the gradient, so that even a tiny gradient changes its weight.
    model.compile(keras.optimizers.Lion(0.01), "categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(images, np.eye(3)[[0, 1, 2, 0]])
    pairs = zip(model.weights, start, strict=True)
    assert {weight.path for weight, old in pairs if not np.array_equal(weight.numpy(), old)} == list_trained(
        model, depth, norm
    )


def list_trained(model, depth, norm):
    """Applies the definition: the top layers with kernels, by number or fraction, and all layers that follow."""
    own = [layer for layer in model.layers if layer.name not in HEAD]
    kernels = [position for position, layer in enumerate(own) if any(len(weight.shape) > 1 for weight in layer.weights)]
    count = 3 if depth is None else round(depth * len(kernels))
    lowest = [*kernels, len(own)][-count - 1] if count < len(kernels) else 0
    trained = [model.get_layer("predictions"), *own[lowest:]]
    fixed = (keras.layers.Normalization,) + ((keras.layers.BatchNormalization,) if norm == "frozen" else ())
    return {weight.path for layer in trained if not isinstance(layer, fixed) for weight in layer.weights}
