import keras
import numpy as np
import pytest

from keras_inat.config import load_config
from keras_inat.models.cnn import build_cnn
from keras_inat.models.cost import count_cnn, count_model
from keras_inat.sections import Config, Model


def test_its_layers_by_name():
    model = build_cnn(Model(filters=4, num_blocks=2, dense_units=6, dropout=0.5), 16, 3)
    block = ["conv", "norm", "activation", "pool"]
    assert [layer.name for layer in model.layers] == [
        *("image", "rescale"),
        *(f"block1_{part}" for part in block),
        *(f"block2_{part}" for part in block),
        *("flatten", "dense", "dense_activation", "dropout", "predictions"),
    ]
    assert model.output_shape == (None, 3)


def test_every_size_and_activation_can_be_changed():
    config = Model(
        filters=4,
        num_blocks=3,
        organisation="double",
        kernel_size=(5, 3, 1),
        activation="mish",
        dense_activation="gelu",
        batch_norm=False,
        pooling="average",
        dense_units=7,
    )
    model = build_cnn(config, 24, 5)
    kernels = [layer.kernel.shape for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [tuple(shape) for shape in kernels] == [(5, 5, 3, 4), (3, 3, 4, 8), (1, 1, 8, 16)]
    assert model.get_layer("block2_activation").activation is keras.activations.mish
    assert model.get_layer("dense_activation").activation is keras.activations.gelu
    assert model.get_layer("dense").kernel.shape == (16, 7)
    assert not [layer for layer in model.layers if "norm" in layer.name]


def test_outputs_are_probabilities_of_pixels():
    model = build_cnn(Model(filters=4, num_blocks=2), 16, 3)
    outputs = model(np.random.default_rng(0).uniform(0, 255, (5, 16, 16, 3))).numpy()
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.get_layer("rescale")(np.array([0.0, 255.0])), [-1, 1], atol=1e-6)


def test_cost_in_closed_form_is_the_cost_of_the_network():
    rng = np.random.default_rng(0)
    for _ in range(25):
        blocks = int(rng.integers(1, 5))
        config = Model(
            num_blocks=blocks,
            filters=int(rng.integers(1, 5)) * 2 ** (blocks - 1),
            organisation=str(rng.choice(["same", "double", "half"])),
            kernel_size=tuple(int(size) for size in rng.integers(1, 6, blocks)),
            batch_norm=bool(rng.integers(2)),
            pooling=str(rng.choice(["flatten", "average"])),
            dense_units=int(rng.integers(0, 9)),
        )
        size = int(rng.integers(2**blocks, 40))
        model, rows = build_cnn(config, size, 10), count_cnn(config, size, 10)
        assert (sum(row.parameters for row in rows), sum(row.macs for row in rows)) == count_model(model)
        for row in rows:
            assert model.get_layer(row.name).output.shape[1:] == row.output


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        # conv 3-128 and four 128-128 (no biases), BN 4 numbers a filter, 128 x 7 x 7 -> 512 -> 10.
        ("b", 27 * 128 + 4 * 9 * 128 * 128 + 5 * 4 * 128 + (128 * 49 + 1) * 512 + 513 * 10),
        ("a", 27 * 32 + 4 * 9 * 32 * 32 + 5 * 4 * 32 + (32 * 16 + 1) * 128 + 129 * 10),
    ],
)
def test_reference_systems_have_the_parameters_that_their_descriptions_imply(path, parameters):
    from keras_inat.__main__ import CONFIGS

    config = load_config([], CONFIGS / "systems" / f"{path}.yaml")
    assert sum(row.parameters for row in count_cnn(config.model, config.data.image_size, 10)) == parameters


def test_default_is_five_blocks():
    assert len(count_cnn(Config().model, 128, 10)) == 5 * 3 + 2
