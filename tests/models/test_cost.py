import keras
import numpy as np
import pytest

from keras_inat.__main__ import CONFIGS
from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
from keras_inat.models.cost import MOMENTS, check_memory, count_cnn, count_layers, count_model, estimate_memory
from keras_inat.models.formula import explain_letters, write_terms
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Config, Model


def draw_model(rng, most_blocks):
    """Any configuration."""
    blocks = int(rng.integers(1, most_blocks + 1))
    residual, same = bool(rng.integers(2)), bool(rng.integers(2))
    counts = [1, 3] if residual else [1, 2]
    filter_organization = str(rng.choice(["same", "double", "half"]))
    listed = filter_organization == "same" and not same
    return Model(
        ensemble_size=int(rng.choice([1, 1, 3])),
        num_blocks=blocks,
        filters=tuple(rng.integers(1, 6, blocks).tolist()) if listed else 2**blocks + int(rng.integers(4)),
        filter_organization=filter_organization,
        min_filters=int(rng.choice([1, 3])),
        kernel_size=3 if same else tuple(rng.integers(1, 6, blocks).tolist()),
        convolutions=3 if residual and same else (*rng.choice(counts, blocks - 1).tolist(), counts[1]),
        residual=residual,
        batch_norm=bool(rng.integers(2)),
        block_pooling=str(rng.choice(["max", "average"])),
        pool_first=bool(rng.integers(2)),
        block_dropout=float(rng.choice([0.0, 0.1])),
        pooling=str(rng.choice(["flatten", "average", "max"])),
        dense_units=int(rng.integers(0, 9)),
        dropout=float(rng.choice([0.0, 0.1])),
        dropout_placement=str(rng.choice(["before_dense", "after_dense"])),
    )


def sum_terms(terms, quantity):
    return sum(term.value for term in terms if term.quantity == quantity)


def test_cost_in_closed_form_is_the_cost_of_the_network():
    rng = np.random.default_rng(0)
    for _ in range(200):
        config, classes = draw_model(rng, 2), int(rng.integers(2, 12))
        size = int(rng.integers(2**config.num_blocks, 40))
        model, rows = build_cnn(config, size, classes), count_cnn(config, size, classes)
        assert [(row.name, row.output) for row in rows] == [
            (layer.name, layer.output.shape[1:]) for layer in model.layers[1:]
        ], config
        assert [row.parameters for row in rows] == [layer.count_params() for layer in model.layers[1:]], config
        assert rows == count_layers(model), config
        assert count_model(model) == (sum(row.parameters for row in rows), sum(row.macs for row in rows))


def test_the_formulas_are_the_table_in_a_line():
    rng = np.random.default_rng(1)
    for _ in range(300):
        config, size = draw_model(rng, 5), int(rng.integers(32, 300))
        rows, terms = count_cnn(config, size, 10), write_terms(config, size, 10)
        assert sum_terms(terms, "parameters") == sum(row.parameters for row in rows)
        assert sum_terms(terms, "computations") == sum(row.macs for row in rows)
        for term in terms:  # what stands there, worked out
            assert eval(term.numbers.replace("²", "**2").replace("·", "*")) == term.value, term


def test_the_question_in_letters():
    config = Model(filters=16, kernel_size=5, dense_units=64)
    terms = write_terms(config, 64, 10)
    m, k, n, classes, s = 16, 5, 64, 10, (64, 32, 16, 8, 4)
    d = m * 2**2
    assert [(term.symbols, term.value) for term in terms] == [
        ("m k² (3 + 4 m)", m * k**2 * (3 + 4 * m)),
        ("4·5 m", 4 * 5 * m),
        ("n (d + 1)", n * (d + 1)),
        ("C (n + 1)", classes * (n + 1)),
        ("m k² (3 s₁² + m Σᵢ₌₂ sᵢ²)", m * k**2 * (3 * s[0] ** 2 + m * sum(side**2 for side in s[1:]))),
        ("n d", n * d),
        ("C n", classes * n),
    ]
    assert terms[0].numbers == "16·5²·3 + 4·16·5²·16"
    assert terms[4].numbers == "64²·16·5²·3 + (32²+16²+8²+4²)·16·5²·16"
    letters = explain_letters(config, 64, 10)
    for words in ("m = 16 filters of side k = 5", "n = 64 neurons", "d = 64 = 16·2² numbers", "C = 10 classes"):
        assert words in letters


@pytest.mark.parametrize(
    ("system", "parameters"),
    [
        # conv 3-32 and four 32-32 (no biases), BN 4 numbers a filter, 32 x 4 x 4 -> 128 -> 10.
        ("a", 27 * 32 + 4 * 9 * 32 * 32 + 5 * 4 * 32 + (32 * 16 + 1) * 128 + 129 * 10),
        # 128 filters throughout; 224 px leave 7 x 7 -> 512 -> 10.
        ("b", 27 * 128 + 4 * 9 * 128 * 128 + 5 * 4 * 128 + (128 * 49 + 1) * 512 + 513 * 10),
        # 3-32-64-128-256-512; 4 x 4 -> 256 -> 10.
        (
            "c",
            9 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
            + 4 * (32 + 64 + 128 + 256 + 512)
            + (512 * 16 + 1) * 256
            + 257 * 10,
        ),
        # 3-64-128-256-512-1024; 4 x 4 -> 256 -> 10.
        (
            "d",
            9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)
            + 4 * (64 + 128 + 256 + 512 + 1024)
            + (1024 * 16 + 1) * 256
            + 257 * 10,
        ),
        # 64 filters throughout; 4 x 4 -> 256 -> 10.
        ("e", 27 * 64 + 4 * 9 * 64 * 64 + 5 * 4 * 64 + (64 * 16 + 1) * 256 + 257 * 10),
    ],
)
def test_reference_systems_have_the_parameters_that_their_descriptions_imply(system, parameters):
    config = load_config([], CONFIGS / "systems" / f"{system}.yaml")
    assert sum(row.parameters for row in count_cnn(config.model, config.data.image_size, 10)) == parameters


@pytest.mark.parametrize("system", "bcde")
def test_reference_systems_halve_without_a_floor(system):
    path = CONFIGS / "systems" / f"{system}.yaml"
    halved = load_config(["model.filters=32", "model.filter_organization=half"], path).model
    assert halved.filters_per_block == (32, 16, 8, 4, 2)


def test_activations_by_hand():
    # 8 x 8: the rescaled image, one convolution of 2 filters and what goes with it, 4 x 4 x 2 pooled, flat; 3; 2.
    config = load_config(
        [
            *("data.image_size=8", "model.num_blocks=1", "model.filters=2", "model.dense_units=3"),
            *("training.batch_size=5", "training.optimizer=sgd"),
        ]
    )
    memory = estimate_memory(config, 2)
    weights = 27 * 2 + 4 * 2 + 3 * (32 + 1) + 2 * (3 + 1)
    assert memory.weights == 3 * 4 * weights
    assert memory.gradients == memory.moments == 4 * (weights - 2 * 2)  # means and variances do not train
    assert memory.activations == 4 * 5 * (64 * 3 + 3 * 64 * 2 + 32 + 32 + 3 + 3 + 2)
    assert memory.passing == 2 * 4 * 5 * 64 * 3
    assert memory.spared == 4 * 5 * (64 * 2 + 3)  # what goes into the two activations
    assert memory.kept == memory.weights + memory.gradients + memory.moments + memory.activations - memory.spared
    assert memory.total == memory.kept + memory.spared + memory.passing


@pytest.mark.parametrize("name", MOMENTS)
def test_optimizers_keep_as_many_numbers_as_the_table_says(name):
    arguments = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    optimizer = keras.optimizers.get({"class_name": name, "config": arguments})
    optimizer.build([keras.Variable(np.zeros((5, 20)))])
    kept = [int(np.prod(variable.shape)) for variable in optimizer.variables]
    assert sum(count for count in kept if count > 1) == MOMENTS[name] * 100


def test_the_average_of_the_weights_and_small_training_images_count():
    settings = ["model.pooling=average", "training.optimizer=sgd"]
    plain = estimate_memory(load_config(settings), 10)
    averaged = estimate_memory(load_config([*settings, "training.ema=0.99"]), 10)
    small = estimate_memory(load_config([*settings, "training.image_scales=[0.5]"]), 10)
    mixed = estimate_memory(load_config([*settings, "training.precision=mixed_bfloat16"]), 10)
    assert averaged.moments == 2 * plain.moments
    assert (small.weights, small.passing) == (plain.weights, plain.passing // 4)
    assert mixed.activations == plain.activations // 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["data.image_size=256", "model.filters=2048", "model.dense_units=16384", "training.batch_size=1"],
            ["`model.pooling`=flatten makes the layer dense 131,072 x 16,384 = 2.1e+09 weights", "`model.pooling`=av"],
        ),
        (
            ["model.filters=4096", "model.filter_organization=double", "model.pooling=average", "model.dense_units=0"],
            ["`model.filters` makes the layer block5_conv 1.9e+10 weights", "use fewer `model.filters`"],
        ),
        (["training.batch_size=9999"], ["`training.batch_size`=9999 makes 64.8 GB of activations"]),
    ],
)
def test_what_cannot_fit_is_refused_with_the_arithmetic(arguments, words):
    with pytest.raises(UserError) as error:
        check_memory(load_config(arguments), 10, available=24 * 10**9)
    for word in [*words, "this machine has 24 GB", "what adam keeps of them"]:
        assert word in str(error.value)


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("keras_inat.models.cost.CONTAINER_LIMITS", (limit, tmp_path / "none"))
    limit.write_text("max\n")
    check_memory(Config(), 10)
    limit.write_text("30000000\n")
    with pytest.raises(UserError, match=r"this machine has 0.03 GB"):
        check_memory(Config(), 10)


def test_what_fits_is_not_refused():
    config = Config()
    check_memory(config, 10)
    kept = estimate_memory(config, 10).kept
    check_memory(config, 10, available=kept)
    with pytest.raises(UserError):
        check_memory(config, 10, available=kept - 1)
