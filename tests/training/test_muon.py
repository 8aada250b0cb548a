import keras
import numpy as np
import pytest

from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Training
from keras_inat.training.muon import Muon
from keras_inat.training.optimizers import build_optimizer


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", [(90, 20), (20, 90), (16, 16)])
def test_orthogonalization_equals_that_of_keras(shape):
    matrix = draw(*shape)
    expected = keras.optimizers.Muon().zeropower_via_newtonschulz5(matrix, 5)
    np.testing.assert_allclose(Muon().zeropower_via_newtonschulz5(matrix, 5), expected, atol=1e-4)


def test_a_kernel_takes_equal_steps_in_all_directions():
    kernel = keras.Variable(draw(3, 3, 4, 8))
    before = kernel.numpy()
    optimizer = Muon(0.1, weight_decay=None, nesterov=True)
    gradient = draw(36, 8) * np.logspace(0, -1.5, 8)  # the singular values differ by a factor of 30
    optimizer.apply([gradient.reshape(kernel.shape).astype("float32")], [kernel])
    moved = np.linalg.svd((before - kernel.numpy()).reshape(36, 8), compute_uv=False) / (0.1 * 0.2 * 36**0.5)
    assert moved.min() > 0.6
    assert moved.max() < 1.3


def test_all_other_weights_take_the_steps_of_adamw():
    """The others are vectors, the last layer and depthwise kernels."""
    model = keras.Sequential(
        [
            build_cnn(load_config(["model.num_blocks=1", "model.filters=2"]).model, 8, 2),
            keras.layers.Reshape((1, 1, 2)),
            keras.layers.DepthwiseConv2D(1, name="depthwise"),
        ]
    )
    gradients = [draw(*weight.shape) for weight in model.trainable_weights]
    before = model.get_weights()
    moved = {}
    for name in ("muon", "adamw"):
        model.set_weights(before)
        start = [weight.numpy() for weight in model.trainable_weights]
        optimizer = build_optimizer(Training(optimizer=name, weight_decay=0.01, learning_rate=0.1), 10)
        optimizer.apply(gradients, model.trainable_weights)
        moved[name] = [weight.numpy() - old for weight, old in zip(model.trainable_weights, start, strict=True)]
    paths = [weight.path for weight in model.trainable_weights]
    differ = [
        path for path, *pair in zip(paths, moved["muon"], moved["adamw"], strict=True) if not np.allclose(*pair, 1e-4)
    ]
    assert [path.split("/")[-2] for path in differ] == ["block1_conv", "dense"]
