"""Filters: the first layer's, feature maps and top activating patches."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_inat.explain import filters
from keras_inat.explain.filters import (
    compute_feature_maps,
    explain_filters,
    find_stages,
    measure_receptive_fields,
    read_first_layer_filters,
)
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model


def test_first_layer_filters_are_the_kernels():
    model = build_cnn(Model(num_blocks=2, filters=4, kernel_size=(5, 3)), 8, 3)
    filters = read_first_layer_filters(model)
    assert filters.shape == (4, 5, 5, 3)
    assert filters.dtype == np.float32
    kernel = model.get_layer("block1_conv").kernel.numpy()
    np.testing.assert_array_equal(filters[2], kernel[:, :, :, 2])


def test_filters_of_a_network_with_blue_first_are_returned_as_red_green_blue():
    inputs = keras.Input((8, 8, 3))
    body_inputs = keras.Input((8, 8, 3))
    body = keras.Model(body_inputs, layers.Conv2D(2, 3, name="conv")(body_inputs))
    model = keras.Model(inputs, body(keras.ops.flip(inputs, axis=-1)))
    kernel = body.get_layer("conv").kernel.numpy()
    np.testing.assert_array_equal(read_first_layer_filters(model)[1, 0, 2], kernel[0, 2, ::-1, 1])


def test_a_network_without_color_input_is_an_error():
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="no convolution with 3 input channels"):
        read_first_layer_filters(model)


def test_feature_maps_are_the_outputs_of_the_blocks():
    model = build_cnn(Model(num_blocks=3, filters=4, filter_organization="double"), 16, 3)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stages = compute_feature_maps(model, image)
    assert [(stage.layer, stage.maps.shape) for stage in stages] == [
        ("block1_activation", (16, 16, 4)),
        ("block2_activation", (8, 8, 8)),
        ("block3_activation", (4, 4, 16)),
    ]
    maps = {stage.layer: stage.maps for stage in stages}
    x = image[None].astype(np.float32)
    for layer in model.layers[1:]:
        x = layer(x, training=False)
        if layer.name in maps:
            np.testing.assert_allclose(maps[layer.name], x[0], rtol=1e-3, atol=1e-3)


def test_the_feature_maps_with_the_highest_activation_are_kept(monkeypatch):
    monkeypatch.setattr(filters, "MAX_MAPS", 2)
    inputs = keras.Input((8, 8, 3))
    convolve = layers.Conv2D(4, 1, activation="relu")
    model = keras.Model(inputs, layers.Flatten()(convolve(inputs)))
    convolve.set_weights([np.ones((1, 1, 3, 4)) * [0.01, -1, 0.03, 0.02], np.zeros(4)])
    [stage] = compute_feature_maps(model, np.full((8, 8, 3), 100))
    assert stage.filters.tolist() == [2, 3]
    assert (stage.num_filters, stage.num_silent) == (4, 4)
    np.testing.assert_allclose(stage.maps[0, 0], [9, 6], rtol=1e-3)


def test_all_blocks_of_our_network_are_stages():
    maps = compute_feature_maps(build_cnn(Model(num_blocks=6, filters=2), 64, 3), np.zeros((64, 64, 3)))
    assert [stage.maps.shape[0] for stage in maps] == [64, 32, 16, 8, 4, 2]


def test_stages_of_other_networks_are_the_last_five_resolutions():
    inputs = x = keras.Input((64, 64, 3))
    for stage in range(6):
        x = layers.Conv2D(2, 3, strides=2, padding="same", activation="relu", name=f"stage{stage}_first")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Multiply()([x, layers.Conv2D(2, 1, activation="sigmoid")(gate)])
        x = layers.ReLU(name=f"stage{stage}_last")(x)
    x = layers.Flatten()(layers.ZeroPadding2D()(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    maps = compute_feature_maps(model, np.zeros((64, 64, 3)))
    assert [stage.layer for stage in maps] == [f"stage{stage}_last" for stage in range(5)]
    assert [stage.maps.shape for stage in maps] == [(size, size, 2) for size in (32, 16, 8, 4, 2)]


def test_a_model_without_spatial_activations_is_an_error():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.ReLU()])
    with pytest.raises(ValueError, match="no activation with rows and columns"):
        compute_feature_maps(model, np.zeros((8, 8, 3)))


def test_a_residual_block_ends_with_its_last_activation():
    config = Model(num_blocks=2, filters=4, convolutions=(1, 3), residual=True, ensemble_size=2)
    maps = compute_feature_maps(build_cnn(config, 16, 3), np.zeros((16, 16, 3)))
    assert [stage.layer for stage in maps] == ["block1_activation", "block2_activation3"]


def test_patches_are_cut_at_the_highest_activation():
    """The filter measures brightness over 3 x 3 pixels, and each image is bright in one place."""
    inputs = keras.Input((16, 16, 3))
    convolve = layers.Conv2D(1, 3, padding="same", activation="gelu", kernel_initializer="ones")
    model = keras.Model(inputs, layers.Flatten()(convolve(inputs)))
    images = np.zeros((4, 16, 16, 3), np.uint8)
    places = [(5, 9), (12, 2), (8, 8), (1, 1)]
    for index, (row, column) in enumerate(places):
        images[index, row - 1 : row + 2, column - 1 : column + 2] = 50 * (index + 1)
    (found,) = explain_filters(model, images, num_filters=3, num_patches=2)
    assert found.filter == 0
    np.testing.assert_allclose(found.preactivations, [27 * 200, 27 * 150])
    np.testing.assert_array_equal(found.patches, np.stack([np.full((3, 3, 3), 200), np.full((3, 3, 3), 150)]))
    assert found.synthetic.shape == (3, 3, 3)
    assert found.synthetic.dtype == np.uint8
    assert found.synthetic.mean() > 250
    assert found.reached > 0.98 * 27 * 255
    assert found.exceeds_patches


def test_inactive_filters_are_not_explained():
    inputs = keras.Input((8, 8, 3))
    dead = layers.Conv2D(
        2, 3, activation="relu", kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(-1)
    )
    with pytest.raises(ValueError, match="no filter is active on any of 2 validation images"):
        explain_filters(keras.Model(inputs, dead(inputs)), np.zeros((2, 8, 8, 3)))


@pytest.mark.parametrize("separate", [True, False])
def test_activations_at_the_ceiling_are_ranked_by_their_preactivations(separate):
    inputs = keras.Input((8, 8, 3))
    convolve = layers.Conv2D(1, 3, padding="same", activation=None if separate else "relu6", kernel_initializer="ones")
    x = convolve(inputs)
    model = keras.Model(inputs, layers.Flatten()(layers.ReLU(6.0)(x) if separate else x))
    images = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (40, 80, 60)])
    (found,) = explain_filters(model, images, num_patches=3)
    np.testing.assert_allclose(found.preactivations, [27 * 80, 27 * 60, 27 * 40])


def test_receptive_fields_by_hand():
    keras.utils.set_random_seed(0)
    config = Model(num_blocks=3, filters=4, kernel_size=(5, 3, 3), activation="gelu")
    model = build_cnn(config, 32, 3)
    # A kernel adds its side minus one, in pixels of its own stage: 5; 5 + 1 + 2 * 2; 10 + 2 + 4 * 2.
    assert measure_receptive_fields(keras.Model(model.inputs, [x.output for x in find_stages(model)])) == [5, 10, 20]


def test_no_field_is_larger_than_the_image():
    inputs = keras.Input((16, 12, 3))
    model = keras.Model([inputs], layers.Conv2D(2, 31, padding="same", activation="gelu")(inputs))
    assert measure_receptive_fields(model) == [12]
