import keras
import numpy as np
import pytest

from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Training
from keras_inat.training.optimizers import OPTIMIZERS, build_optimizer


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
        np.testing.assert_allclose(average, expected, rtol=1e-5)
