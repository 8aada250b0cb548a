import numpy as np
import pytest
from drawn_models import draw_covering_models, draw_model

from keras_inat.models.cnn import build_cnn
from keras_inat.models.cost import (
    MACS,
    PARAMETERS,
    count_cnn,
    count_layers,
    describe_symbols,
    list_terms,
)
from keras_inat.settings.loading import load_config
from keras_inat.settings.recipes import RECIPES
from keras_inat.settings.schema import Model


def test_cost_in_closed_form_is_the_cost_of_the_network():
    rng = np.random.default_rng(0)
    for config in draw_covering_models(rng, 50, max_blocks=2):
        num_classes = int(rng.integers(2, 12))
        size = int(rng.integers(2**config.num_blocks, 40))
        model, rows = build_cnn(config, size, num_classes), count_cnn(config, size, num_classes)
        assert [(row.name, row.output) for row in rows] == [
            (layer.name, layer.output.shape[1:]) for layer in model.layers[1:]
        ], config
        assert [row.parameters for row in rows] == [layer.count_params() for layer in model.layers[1:]], config
        assert rows == count_layers(model), config
        assert model.count_params() == sum(row.parameters for row in rows)


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
    config = load_config([], RECIPES / "systems" / f"{system}.yaml")
    assert sum(row.parameters for row in count_cnn(config.model, config.data.image_size, 10)) == parameters


@pytest.mark.parametrize("system", "bcde")
def test_reference_systems_halve_without_a_floor(system):
    path = RECIPES / "systems" / f"{system}.yaml"
    halved = load_config(["model.filters=32", "model.filter_organization=half"], path).model
    assert halved.filters_per_block == (32, 16, 8, 4, 2)


def test_the_terms_add_up_to_the_totals_of_the_table():
    rng = np.random.default_rng(1)
    for _ in range(300):
        config, size = draw_model(rng, 5), int(rng.integers(32, 300))
        rows, terms = count_cnn(config, size, 10), list_terms(config, size, 10)
        assert sum(term.value for term in terms[PARAMETERS]) == sum(row.parameters for row in rows)
        assert sum(term.value for term in terms[MACS]) == sum(row.macs for row in rows)
        for term in (*terms[PARAMETERS], *terms[MACS]):
            assert eval(term.numbers.replace("²", "**2").replace("·", "*")) == term.value, term


def test_the_terms_in_symbols_and_in_numbers():
    config = Model(filters=16, kernel_size=5, dense_units=64)
    quantities = list_terms(config, 64, 10)
    terms = [*quantities[PARAMETERS], *quantities[MACS]]
    m, k, n, num_classes = 16, 5, 64, 10
    s = (64, 32, 16, 8, 4)
    d = m * 2**2
    assert [(term.symbols, term.value) for term in terms] == [
        ("m k² (3 + 4 m)", m * k**2 * (3 + 4 * m)),
        ("4·5 m", 4 * 5 * m),
        ("n (d + 1)", n * (d + 1)),
        ("C (n + 1)", num_classes * (n + 1)),
        ("m k² (3 s₁² + m Σᵢ₌₂ sᵢ²)", m * k**2 * (3 * s[0] ** 2 + m * sum(side**2 for side in s[1:]))),
        ("n d", n * d),
        ("C n", num_classes * n),
    ]
    assert terms[0].numbers == "16·5²·3 + 4·16·5²·16"
    assert terms[4].numbers == "64²·16·5²·3 + (32²+16²+8²+4²)·16·5²·16"
    symbols = describe_symbols(config, 64, 10)
    for words in ("m = 16 filters of side k = 5", "n = 64 neurons", "d = 64 = 16·2² features", "C = 10 classes"):
        assert words in symbols
