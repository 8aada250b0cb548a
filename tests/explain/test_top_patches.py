import keras
import numpy as np
from keras import layers

from keras_inat.explain.top_patches import explain_filters


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
    assert (found.filter, found.receptive_field, found.images) == (0, 3, (3, 2))
    np.testing.assert_allclose(found.activations, [27 * 200, 27 * 150])
    np.testing.assert_array_equal(found.patches, np.stack([np.full((3, 3, 3), 200), np.full((3, 3, 3), 150)]))
    assert found.synthetic.shape == (3, 3, 3)
    assert found.synthetic.mean() > 200  # the noise that it begins with has a mean of 128


def test_inactive_filters_are_not_explained():
    inputs = keras.Input((8, 8, 3))
    dead = layers.Conv2D(
        2, 3, activation="relu", kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(-1)
    )
    assert explain_filters(keras.Model(inputs, dead(inputs)), np.zeros((2, 8, 8, 3))) == []
