"""What the maps of a stage follow."""

import keras
import numpy as np
from keras import layers

from keras_inat.explain.responses import compute_features, correlate_maps, measure_responses


def test_a_network_that_measures_brightness():
    inputs = keras.Input((16, 16, 3))
    bright = layers.Conv2D(2, 1, activation="relu", kernel_initializer="ones")
    model = keras.Model(inputs, layers.Flatten()(bright(inputs)))
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    [stage] = measure_responses(model, images, np.arange(5))
    np.testing.assert_allclose(stage.correlations[:, 2], 1, atol=1e-4)
    assert (np.abs(stage.correlations[:, :2]) < 0.5).all()
    means = 3 * images.mean(axis=(1, 2, 3))[stage.labels]
    np.testing.assert_allclose(stage.activations, np.stack([means, means], axis=1), rtol=1e-4)


def test_features_by_hand():
    image = np.zeros((1, 8, 8, 3))
    image[:, :, 4:] = [30, 0, 60]
    edges, saturation, brightness = np.moveaxis(compute_features(image)[0], -1, 0)
    assert saturation[0].tolist() == [0, 0, 0, 0, 60, 60, 60, 60]
    assert brightness[0].tolist() == [0, 0, 0, 0, 30, 30, 30, 30]
    assert edges[2, 3] > edges[2, 0] == 0


def test_correlations_of_constants_and_of_few_positions_are_not_numbers():
    feature = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(correlate_maps(-feature[..., 0], feature), [[-1]], atol=1e-6)
    assert np.isnan(correlate_maps(np.ones((1, 4, 4)), feature)).all()
    assert np.isnan(correlate_maps(feature[:, :3, :3, 0], feature[:, :3, :3])).all()
