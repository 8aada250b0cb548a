"""In every backbone: pixels arrive in its own range, a file keeps it, and what should move moves and nothing else.

`make test` has some of them and one of their stages, `make test-all` every stage of all of them.
"""

import inspect

import keras
import numpy as np
import pytest

from keras_inat.models.backbones import BACKBONES, HEAD
from keras_inat.models.pretrained import build_finetune
from keras_inat.settings.schema import Finetune
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.stages import STRATEGIES, apply_stage

# One of each kind of graph: nested, scaled within, depthwise, squeezed, residual, plain, separable.
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
STAGES = {stage.depth: stage for stages in STRATEGIES.values() for stage in stages}
EVERY = [(depth, norm) for depth in STAGES for norm in ("frozen", "trained")]
SLOW = pytest.mark.slow
rng = np.random.default_rng(0)


@pytest.fixture
def build(monkeypatch):
    """Builds a backbone with its head; gives it, the tensor where its own layers begin, and Keras's preprocessing."""

    def build(name):
        begun, builder = [], getattr(keras.applications, name)

        def noting(input_tensor, **named):
            begun.append(input_tensor)
            return builder(input_tensor=input_tensor, **named)

        monkeypatch.setattr(keras.applications, name, noting)
        keras.utils.set_random_seed(0)
        model = build_finetune(Finetune(backbone=name, weights="none"), BACKBONES[name].min_size, 3)
        return model, begun[0], inspect.getmodule(builder).preprocess_input

    yield build
    keras.backend.clear_session()


def draw_images(name):
    side = BACKBONES[name].min_size
    return rng.uniform(0, 255, (4, side, side, 3)).astype("float32")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else SLOW) for name in BACKBONES])
def test_pixels_range_moves_and_file(build, tmp_path, name):
    model, begin, preprocess_input = build(name)
    assert sum(layer.count_params() for layer in model.layers if layer.name not in HEAD) == BACKBONES[name].parameters
    images, pooled = draw_images(name), model.get_layer(HEAD[0]).output
    expected = keras.Model(begin, pooled)(preprocess_input(images.copy()))
    received = keras.Model(model.input, pooled)(images)
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max()))
    check_a_step(model, images, None, "trained")
    model.save(tmp_path / "best.keras")
    reloaded = keras.models.load_model(tmp_path / "best.keras", compile=False)
    np.testing.assert_allclose(reloaded(images), model(images), rtol=1e-5, atol=1e-6)


@SLOW
@pytest.mark.parametrize("name", BACKBONES)
def test_what_should_move_moves_and_nothing_else(build, name):
    model = clone_for_training(build(name)[0], any_size=False)
    start = model.get_weights()
    for depth, norm in EVERY:
        model.set_weights(start)
        check_a_step(model, draw_images(name), depth, norm)


def check_a_step(model, images, depth, norm):
    apply_stage(model, STAGES[depth], Finetune(unfreeze=3, batch_norm=norm))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # EfficientNets leave out whole blocks, of four images now and then all
    start = model.get_weights()
    # Lion steps by the sign of the gradient: however small that is, what has one moves.
    model.compile(keras.optimizers.Lion(0.01), "categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(images, np.eye(3)[[0, 1, 2, 0]])
    pairs = zip(model.weights, start, strict=True)
    assert {weight.path for weight, old in pairs if not np.array_equal(weight.numpy(), old)} == list_moving(
        model, depth, norm
    )


def list_moving(model, depth, norm):
    """By the definition: of the layers with kernels so many, or such a part of them, from the top, and what follows."""
    own = [layer for layer in model.layers if layer.name not in HEAD]
    kernels = [place for place, layer in enumerate(own) if any(len(weight.shape) > 1 for weight in layer.weights)]
    count = 3 if depth is None else round(depth * len(kernels))
    lowest = [*kernels, len(own)][-count - 1] if count < len(kernels) else 0
    moving = [model.get_layer("predictions"), *own[lowest:]]
    fixed = (keras.layers.Normalization,) + ((keras.layers.BatchNormalization,) if norm == "frozen" else ())
    return {weight.path for layer in moving if not isinstance(layer, fixed) for weight in layer.weights}
