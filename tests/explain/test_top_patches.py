import keras
import numpy as np
from keras import layers

from keras_inat.explain import top_patches
from keras_inat.explain.filters import find_stages
from keras_inat.explain.top_patches import explain_filters, measure_receptive_fields
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model


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


def test_synthetic_images_activate_their_filters_more_than_noise(monkeypatch):
    monkeypatch.setattr(top_patches, "NUM_STEPS", 8)
    keras.utils.set_random_seed(0)
    model = build_cnn(Model(num_blocks=2, filters=6, activation="relu"), 16, 3)
    stages = find_stages(model)
    filters = [(0, 1), (0, 4), (1, 2)]
    before = model.get_weights()
    synthetic = top_patches.maximize_filters(model, stages, filters, [1.0, 1.0, 1.0])
    noise = np.random.default_rng(5).normal(128, 12, synthetic.shape).astype(np.float32)
    assert synthetic.min() >= 0
    assert synthetic.max() <= 255
    preactivations = keras.Model(model.inputs, [layer.input for layer in stages])
    for index, (stage, channel) in enumerate(filters):
        values = [preactivations([batch])[stage][index, ..., channel].numpy().mean() for batch in (noise, synthetic)]
        assert values[1] > values[0] + 0.1
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


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
