import keras
import numpy as np
import pytest
from keras import layers

from keras_inat.explain.filters import count_filter_types, order_filters, read_first_layer_filters
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


def test_filter_types():
    edge = np.array([-1.0, 0, 1])[None, :, None] * np.ones((3, 3, 3))
    opponent = edge * [1, -1, 0]
    red = np.ones((3, 3, 3)) * [1, -0.5, -0.5]
    gray = np.ones((3, 3, 3))
    filters = np.stack([edge + 0.3, -2 * edge, edge + 0.5 * red, opponent, red + 0.5 * gray, gray, 0 * gray])
    counts = {"luminance edges": 3, "brightness": 1, "color": 1, "color edges": 1}
    assert count_filter_types(filters) == counts
    assert next(iter(count_filter_types(filters))) == "luminance edges"
    random = count_filter_types(np.random.default_rng(0).normal(size=(200, 3, 3, 3)))
    assert random["color edges"] > 180


def test_orders_of_filters():
    edge = np.linspace(-1, 1, 27).reshape(3, 3, 3)
    noise = np.random.default_rng(0).normal(size=(3, 3, 3))
    filters = np.stack([edge, noise, 3 * edge, 0.1 * noise, -2 * edge])
    assert order_filters(filters).tolist() == [0, 1, 2, 3, 4]
    assert order_filters(filters, "strength").tolist() == [2, 4, 1, 0, 3]
    places = {index: place for place, index in enumerate(order_filters(filters, "similarity").tolist())}
    assert sorted(places) == [0, 1, 2, 3, 4]
    assert abs(places[0] - places[2]) == abs(places[1] - places[3]) == 1  # at any strength
    assert order_filters(filters[:1], "similarity").tolist() == [0]
