"""Activation maximization of neurons whose best image is known."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_inat.explain.activation_maximization import maximize_filters

SIZE = 24
EDGE = np.array([-1.0, 0, 1])[None, :, None] * np.ones((3, 3, 3))
OPPONENT = np.ones((3, 3, 3)) * [1, -1, 0]


@pytest.fixture(scope="module")
def result():
    """A network of two filters, with their synthetic images and what these reach."""
    inputs = keras.Input((SIZE, SIZE, 3))
    convolve = layers.Conv2D(2, 3, padding="same", activation="relu6")
    model = keras.Model(inputs, layers.Flatten()(convolve(inputs)))
    convolve.set_weights([np.stack([EDGE, OPPONENT], axis=-1), np.zeros(2)])
    before = model.get_weights()
    images, reached = maximize_filters(model, [convolve], [(0, 0), (0, 1)], [3])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    again = maximize_filters(model, [convolve], [(0, 0), (0, 1)], [3])
    return model, images, reached, again


@pytest.mark.parametrize(("index", "kernel"), [(0, EDGE), (1, OPPONENT)])
def test_a_planted_filter_reaches_its_maximum(result, index, kernel):
    """The best image is white where the weights are positive and black where they are negative."""
    _, images, reached, _ = result
    middle = SIZE // 2
    field = images[index, middle - 1 : middle + 2, middle - 1 : middle + 2]
    assert reached[index] == pytest.approx(float((field * kernel).sum()), rel=1e-4)
    assert 0.9 * 255 * 9 <= reached[index] <= 255 * 9
    assert np.corrcoef(field[kernel != 0], kernel[kernel != 0])[0, 1] > 0.9
    assert images.min() >= 0
    assert images.max() <= 255


def test_synthetic_images_are_the_same_each_time(result):
    _, images, reached, again = result
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(reached, again[1])
