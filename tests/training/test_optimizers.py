import keras
import numpy as np
import pytest

from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Training
from keras_inat.training.optimizers import OPTIMIZERS, Muon, Schedule, build_optimizer


@pytest.fixture
def model():
    return build_cnn(load_config(["model.num_blocks=1", "model.filters=2"]).model, 8, 2)


def step(optimizer, model, gradient=0.0):
    weights = model.trainable_weights
    before = {weight.path: weight.numpy() for weight in weights}
    optimizer.apply([np.full(weight.shape, gradient, "float32") for weight in weights], weights)
    return {weight.path: (before[weight.path], weight.numpy()) for weight in weights}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_is_decoupled_and_excludes_biases_and_normalization(model, name):
    moved = step(build_optimizer(Training(optimizer=name, weight_decay=0.5, learning_rate=0.1), 10), model)
    for path, (before, after) in moved.items():
        shrink = 1 - 0.1 * 0.5 if path.endswith("kernel") else 1
        np.testing.assert_allclose(after, before * shrink, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_weight_has_its_own_learning_rate_for_steps_and_decay(model, name):
    path, start = "block1_conv/kernel", model.get_weights()
    training = Training(optimizer=name, weight_decay=0.5, learning_rate=0.1)
    moved = step(build_optimizer(training, 10), model, 1.0)
    model.set_weights(start)
    slower = step(build_optimizer(training, 10, {path: 0.01}), model, 1.0)
    for other, (before, after) in moved.items():
        multiplier = 0.01 if other == path else 1
        np.testing.assert_allclose(slower[other][1] - before, (after - before) * multiplier, rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_decay_towards_the_initial_weights(model, name, wrap):
    targets = {"block1_conv/kernel": np.full((3, 3, 3, 2), 7, "float32")}
    optimizer = build_optimizer(
        Training(optimizer=name, weight_decay=0.5, learning_rate=0.1), 10, {"block1_conv/kernel": 0.2}, targets
    )
    for path, (before, after) in step(wrap(optimizer), model).items():
        target, rate = (7, 0.02) if path in targets else (0, 0.1)
        decay = 0.5 if path.endswith("kernel") else 0
        np.testing.assert_allclose(after, before - rate * decay * (before - target), rtol=1e-5, atol=1e-6)


def test_averaged_weights_are_the_plain_mean_until_the_time_constant_has_passed(model):
    optimizer = build_optimizer(
        Training(optimizer="sgd", ema=0.5, learning_rate=0.1), 8
    )  # the time constant is 4 steps
    weight, seen, expected = model.trainable_weights[0], [], 0.0
    for count in range(1, 7):
        seen.append(step(optimizer, model, 1.0)[weight.path][1])
        average = keras.ops.convert_to_numpy(optimizer._model_variables_moving_average[0])
        expected = np.mean(seen, axis=0) if count <= 4 else 0.75 * expected + 0.25 * seen[-1]
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)


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


def list_rates(name, steps, warmup=0.0):
    schedule = Schedule(Training(schedule=name, learning_rate=0.1, warmup=warmup), steps)
    return [float(schedule(step)) for step in range(steps + 1)]


@pytest.mark.parametrize(
    ("name", "steps", "warmup", "expected"),
    [
        ("constant", 2, 0.0, [0.1, 0.1, 0.1]),
        ("constant", 4, 0.5, [0.05, 0.1, 0.1, 0.1, 0.1]),
        ("linear", 4, 0.0, [0.1, 0.075, 0.05, 0.025, 0]),
        ("cosine", 4, 0.0, [0.1, 0.085355, 0.05, 0.014645, 0]),
        ("cosine", 5, 0.2, [0.1, 0.1, 0.085355, 0.05, 0.014645, 0]),
    ],
)
def test_learning_rates(name, steps, warmup, expected):
    np.testing.assert_allclose(list_rates(name, steps, warmup), expected, atol=1e-6)
