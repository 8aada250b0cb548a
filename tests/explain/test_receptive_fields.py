import keras
from keras import layers

from keras_inat.explain.feature_maps import find_stages
from keras_inat.explain.receptive_fields import measure_receptive_fields
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model


def test_receptive_fields_by_hand():
    keras.utils.set_random_seed(0)
    config = Model(num_blocks=3, filters=4, kernel_size=(5, 3, 3), activation="gelu")
    model = build_cnn(config, 32, 3)
    # A kernel adds its side minus one, in pixels of its own stage: 5; 5 + 1 + 2 * 2; 10 + 2 + 4 * 2.
    assert measure_receptive_fields(keras.Model(model.inputs, [x.output for x in find_stages(model)])) == [5, 10, 20]


def test_no_field_is_larger_than_the_image():
    inputs = keras.Input((16, 12, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 31, padding="same", activation="gelu")(inputs))
    assert measure_receptive_fields(model) == [12]
