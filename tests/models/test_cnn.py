import keras
import numpy as np
import pytest

from keras_inat.models.cnn import build_cnn
from keras_inat.settings.schema import Model


def list_names(**settings):
    return [layer.name for layer in build_cnn(Model(num_blocks=1, filters=4, **settings), 16, 3).layers[2:]]


def test_layers_and_their_names():
    model = build_cnn(Model(filters=4, num_blocks=2, dense_units=6, dropout=0.5), 16, 3)
    block = ["conv", "norm", "activation", "pool"]
    assert [layer.name for layer in model.layers] == [
        *("image", "rescale"),
        *(f"block1_{part}" for part in block),
        *(f"block2_{part}" for part in block),
        *("flatten", "dense", "dense_activation", "dropout", "predictions"),
    ]
    assert model.output_shape == (None, 3)


def test_sizes_and_activations_can_be_changed():
    config = Model(
        filters=4,
        num_blocks=3,
        filter_organization="double",
        kernel_size=(5, 3, 1),
        activation="mish",
        batch_norm=False,
        pooling="average",
        dense_units=7,
    )
    model = build_cnn(config, 24, 5)
    kernels = [layer.kernel.shape for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [tuple(shape) for shape in kernels] == [(5, 5, 3, 4), (3, 3, 4, 8), (1, 1, 8, 16)]
    assert model.get_layer("block2_activation").activation is keras.activations.mish
    assert model.get_layer("dense_activation").activation is keras.activations.mish
    assert model.get_layer("dense").kernel.shape == (16, 7)
    assert not [layer for layer in model.layers if "norm" in layer.name]


def test_pixels_become_probabilities():
    model = build_cnn(Model(filters=4, num_blocks=2), 16, 3)
    outputs = model(np.random.default_rng(0).uniform(0, 255, (5, 16, 16, 3))).numpy()
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.get_layer("rescale")(np.array([0.0, 255.0])), [-1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "block"),
    [
        ({"pool_first": True}, ["conv", "pool", "norm", "activation"]),
        ({"batch_norm": False}, ["conv", "activation", "pool"]),
        ({"convolutions": 2}, ["conv", "norm", "activation", "conv2", "norm2", "activation2", "pool"]),
        (
            {"convolutions": 2, "pool_first": True},
            ["conv", "norm", "activation", "conv2", "pool", "norm2", "activation2"],
        ),
        (
            {"convolutions": 3, "residual": True},
            [
                *("conv", "norm", "activation", "pool", "conv2", "norm2", "activation2"),
                *("conv3", "norm3", "add3", "activation3"),
            ],
        ),
        (
            {"convolutions": 3, "residual": True, "pool_first": True, "batch_norm": False},
            ["conv", "pool", "activation", "conv2", "activation2", "conv3", "add3", "activation3"],
        ),
    ],
)
def test_the_order_within_a_block(settings, block):
    names = list_names(**settings)
    assert names[: names.index("flatten")] == [f"block1_{part}" for part in block]


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({"dropout": 0.5}, ["flatten", "dense", "dense_activation", "dropout"]),
        ({"dropout": 0.5, "dropout_placement": "before_dense"}, ["flatten", "dropout", "dense", "dense_activation"]),
        ({"dropout": 0.5, "dropout_placement": "before_dense", "dense_units": 0}, ["flatten", "dropout"]),
        ({"pooling": "max", "dense_units": 0}, ["max"]),
    ],
)
def test_the_order_within_the_head(settings, head):
    names = list_names(**settings)
    assert names[names.index("block1_pool") + 1 :] == [*head, "predictions"]


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"filters": (4, 8, 16)}, (4, 8)),  # all channels
        ({"filters": (8, 8, 6)}, (4, 3)),  # at most half of the filters
        ({"filters": (4, 8, 2), "kernel_size": (3, 4, 1)}, (4, 1)),  # an even kernel pads more at its end
        ({"filters": (4, 8, 16), "batch_norm": False, "ensemble_size": 2}, (4, 8)),
    ],
)
def test_filters_of_later_blocks_can_pass_a_channel_on(settings, counts):
    config = Model(num_blocks=3, dense_units=0, initial_kernels="identity", **settings)
    keras.utils.set_random_seed(0)
    model = build_cnn(config, 16, 3)
    keras.utils.set_random_seed(0)
    random = build_cnn(config.model_copy(update={"initial_kernels": "random"}), 16, 3)
    for prefix in ["", "member2_"][: config.ensemble_size]:
        np.testing.assert_array_equal(
            *(network.get_layer(f"{prefix}block1_conv").kernel for network in (model, random))
        )
        for block, count in zip((2, 3), counts, strict=True):
            layer, other = (network.get_layer(f"{prefix}block{block}_conv") for network in (model, random))
            maps = np.random.default_rng(block).normal(size=(2, 8, 8, layer.kernel.shape[2])).astype("float32")
            norm = np.sqrt((np.array(other.kernel) ** 2).sum((0, 1, 2)).mean())
            outputs = np.array(layer(maps))
            np.testing.assert_allclose(outputs[..., :count], norm * maps[..., :count], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(outputs[..., count:], np.array(other(maps))[..., count:])


def test_an_identity_leaves_residual_pairs_as_they_are():
    settings = {"num_blocks": 2, "filters": 4, "convolutions": 3, "residual": True, "batch_norm": False}
    model = build_cnn(Model(initial_kernels="identity", **settings), 16, 3)
    assert not np.array(model.get_layer("block2_conv3").kernel).any()
    assert np.count_nonzero(np.array(model.get_layer("block2_conv2").kernel)[..., :2]) == 2


@pytest.mark.parametrize("batch_norm", [True, False])
def test_residual_pairs_are_initialized_as_the_identity(batch_norm):
    config = Model(num_blocks=2, filters=4, convolutions=(1, 5), residual=True, batch_norm=batch_norm)
    model = build_cnn(config, 16, 3)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))
    outputs = [model.get_layer(name).output for name in ("block2_pool", "block2_activation5")]
    before, after = keras.Model(model.input, outputs)(images)
    assert before.numpy().max() > 0
    np.testing.assert_array_equal(before, after)


def test_a_residual_pair_adds_to_its_input():
    model = build_cnn(Model(num_blocks=1, filters=2, convolutions=3, residual=True, batch_norm=False), 8, 3)
    model.get_layer("block1_conv3").bias.assign([1.0, -1e6])
    images = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3))
    outputs = [model.get_layer(name).output for name in ("block1_pool", "block1_activation3")]
    before, after = keras.Model(model.input, outputs)(images)
    np.testing.assert_allclose(after[..., 0], before[..., 0] + 1)
    assert not after.numpy()[..., 1].any()


def test_residual_pairs_are_3x3_for_every_kernel_size():
    model = build_cnn(Model(num_blocks=1, filters=2, kernel_size=5, convolutions=3, residual=True), 8, 3)
    sizes = [layer.kernel_size for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert sizes == [(5, 5), (3, 3), (3, 3)]


def test_pooling_first_gives_the_same_output_for_a_monotonic_activation():
    images = np.random.default_rng(0).uniform(0, 255, (2, 18, 18, 3))
    first, last = (build_cnn(Model(num_blocks=2, filters=4, pool_first=first), 18, 3) for first in (True, False))
    last.set_weights(first.get_weights())
    np.testing.assert_allclose(first(images, training=False), last(images, training=False), rtol=1e-5)


@pytest.mark.parametrize(("sign", "expected"), [(1, [[4, 5], [7, 8]]), (-1, [[0, -2], [-6, -8]])])
def test_pooling_of_an_odd_side_includes_every_value_and_no_padding(sign, expected):
    model = build_cnn(Model(num_blocks=1, filters=1), 9, 3)
    values = sign * np.arange(9.0).reshape(1, 3, 3, 1)
    assert model.get_layer("block1_pool")(values)[0, :, :, 0].numpy().tolist() == expected


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("residual", [False, True])
def test_a_clone_accepts_images_of_every_size(pooling, residual):
    settings = {"convolutions": 3, "residual": residual, "pool_first": True, "dropout": 0.1}
    model = build_cnn(Model(num_blocks=2, filters=4, pooling=pooling, **settings), 16, 3)
    clone = keras.models.clone_model(model, input_tensors=keras.Input((None, None, 3)))
    clone.set_weights(model.get_weights())
    assert [weight.path for weight in clone.weights] == [weight.path for weight in model.weights]
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))
    np.testing.assert_allclose(clone(images), model(images), rtol=1e-5)
    assert clone(np.zeros((1, 23, 30, 3))).shape == (1, 3)
