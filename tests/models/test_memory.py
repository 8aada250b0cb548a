import keras
import numpy as np
import pytest

from keras_inat.errors import UserError
from keras_inat.models import memory as memories
from keras_inat.models.cnn import build_cnn
from keras_inat.models.cost import LayerCost, count_cnn
from keras_inat.models.memory import MOMENTS, check_memory, estimate_inference, estimate_memory
from keras_inat.settings.loading import load_config
from keras_inat.settings.recipes import find_recipe
from keras_inat.settings.schema import Config


def test_memory_by_hand():
    # 8 x 8 pixels; 2 filters, normalization and activation at 8 x 8; pooling to 4 x 4; flatten; dense 3; output 2.
    config = load_config(
        [
            *("data.image_size=8", "model.num_blocks=1", "model.filters=2", "model.dense_units=3"),
            *("training.batch_size=5", "training.optimizer=sgd"),
        ]
    )
    memory = estimate_memory(config, 2)
    weights = 27 * 2 + 4 * 2 + 3 * (32 + 1) + 2 * (3 + 1)
    assert memory.weights == 3 * 4 * weights
    assert memory.gradients == memory.moments == 4 * (weights - 2 * 2)  # means and variances are not trainable
    assert memory.activations == 4 * 5 * (64 * 3 + 3 * 64 * 2 + 32 + 32 + 3 + 3 + 2)
    assert memory.output_gradients == 2 * 4 * 5 * 64 * 3
    assert memory.activation_inputs == 4 * 5 * (64 * 2 + 3)  # of both activation functions
    stored = memory.activations - memory.activation_inputs
    assert memory.minimum == memory.weights + memory.gradients + memory.moments + stored
    assert memory.total == memory.minimum + memory.activation_inputs + memory.output_gradients


def test_the_recipe_for_224_px_builds_and_fits_into_16_gb():
    config = load_config([], find_recipe("scratch-224"))
    model = build_cnn(config.model, config.data.image_size, 10)
    assert model.input_shape == (None, 224, 224, 3)
    assert model.count_params() == sum(row.parameters for row in count_cnn(config.model, 224, 10))
    assert list(config.model.convolutions_per_block) == [1] * 5  # strict
    seen, step = 1, 1
    for kernel_size in config.model.kernel_sizes:
        seen += (kernel_size - 1) * step + step  # the convolution, then the pooling
        step *= 2
    assert 0.9 * max(config.training_sizes) < seen < config.data.image_size
    # Measured peaks are up to 1.6 times the estimate.
    assert 1.6 * estimate_memory(config, 10).total < 16e9


def test_a_teacher_adds_to_the_memory(monkeypatch):
    config = load_config([])
    needed = estimate_memory(config, 10).minimum
    monkeypatch.setattr(memories, "read_memory", lambda: needed + 10**8)
    check_memory(config, 10, teacher=10**8)
    with pytest.raises(UserError, match=r"the moments of adam, and 0\.2 GB for the teacher"):
        check_memory(config, 10, teacher=2 * 10**8)


def test_memory_of_predictions_by_hand():
    rows = [LayerCost("a", (4, 4, 3), 10), LayerCost("b", (2, 2, 3), 20), LayerCost("c", (4, 4, 2), 0)]
    assert estimate_inference(rows, 5) == 4 * (10 + 20 + 5 * (48 + 32))


@pytest.mark.parametrize("name", MOMENTS)
def test_optimizers_have_as_many_moments_as_the_table_says(name):
    arguments = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    optimizer = keras.optimizers.get({"class_name": name, "config": arguments})
    optimizer.build([keras.Variable(np.zeros((5, 20)))])
    sizes = [int(np.prod(variable.shape)) for variable in optimizer.variables]
    assert sum(size for size in sizes if size > 1) == MOMENTS[name] * 100


def test_averaged_weights_image_scales_and_precision_count():
    settings = ["model.pooling=average", "training.optimizer=sgd"]
    plain = estimate_memory(load_config(settings), 10)
    averaged = estimate_memory(load_config([*settings, "training.ema=0.99"]), 10)
    small = estimate_memory(load_config([*settings, "training.image_scales=[0.5]"]), 10)
    mixed = estimate_memory(load_config([*settings, "training.precision=mixed_bfloat16"]), 10)
    assert averaged.moments == 2 * plain.moments
    assert (small.weights, small.output_gradients) == (plain.weights, plain.output_gradients // 4)
    assert mixed.activations == plain.activations // 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["data.image_size=256", "model.filters=2048", "model.dense_units=16384", "training.batch_size=1"],
            ["largest layer, dense, has 2.1e+09 weights", "activations of a batch of 1 and"],
        ),
        (
            ["model.filters=4096", "model.filter_organization=double", "model.pooling=average", "model.dense_units=0"],
            ["largest layer, block5_conv, has 1.9e+10 weights"],
        ),
        (["training.batch_size=9999"], ["64.8 GB for the activations of a batch of 9999 and", "GB for the weights"]),
    ],
)
def test_training_that_cannot_fit_is_refused_with_the_arithmetic(arguments, words, monkeypatch):
    monkeypatch.setattr(memories, "read_memory", lambda: 24 * 10**9)
    with pytest.raises(UserError) as error:
        check_memory(load_config(arguments), 10)
    for word in [*words, "This machine has 24 GB", "moments of adam", "Use a smaller `training.batch_size`"]:
        assert word in str(error.value)


def test_training_that_fits_is_accepted(monkeypatch):
    config = Config()
    check_memory(config, 10)
    minimum = estimate_memory(config, 10).minimum
    monkeypatch.setattr(memories, "read_memory", lambda: minimum)
    check_memory(config, 10)
    monkeypatch.setattr(memories, "read_memory", lambda: minimum - 1)
    with pytest.raises(UserError):
        check_memory(config, 10)
