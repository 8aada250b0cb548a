"""The map of a prediction comes from what its runtime offers."""

import keras
import numpy as np
import pytest

from keras_inat.explain.guided_backpropagation import explain_predictions
from keras_inat.explain.prediction_maps import build_occlusion_masks, compute_prediction_maps
from keras_inat.models.cnn import build_cnn
from keras_inat.models.predictors import Predictor, wrap_model
from keras_inat.settings.networks import Model

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
CLASSES = np.array([1, 0, 1])


def _predict(pixels):
    """Returns a probability of class 0 that rises with the brightness of the upper left quarter."""
    brightness = pixels[:, :4, :4].mean(axis=(1, 2, 3)) / 255
    return np.stack([0.05 + 0.9 * brightness, 0.95 - 0.9 * brightness], axis=1)


@pytest.mark.parametrize("side", [4, 8])
def test_large_class_activation_maps_are_used(side):
    maps = np.random.default_rng(0).normal(size=(3, side, side, 2))
    received = compute_prediction_maps(Predictor("", _predict, lambda pixels: maps[: len(pixels)]), PIXELS, CLASSES)
    assert received.method == "class activation map"
    np.testing.assert_array_equal(received.values, np.stack([maps[0, ..., 1], maps[1, ..., 0], maps[2, ..., 1]]))


@pytest.mark.parametrize("compute_maps", [None, lambda pixels: np.ones((3, 3, 3, 2))])
def test_without_them_parts_of_the_image_are_occluded(compute_maps):
    black = np.zeros((1, 16, 16, 3), np.uint8)
    [values] = compute_prediction_maps(Predictor("", _predict, compute_maps), black, np.array([1])).values
    # A gray square at the upper left corner lowers the probability of class 1 from 0.95 to 0.95 - 0.9 * 127 / 255.
    assert values[0, 0] == pytest.approx(np.log(0.95) - np.log(0.95 - 0.9 * 127 / 255), rel=1e-6)
    assert values.argmax() == 0
    assert (values[8:] == 0).all()
    assert (values[:, 8:] == 0).all()


def test_a_keras_model_has_guided_gradients():
    keras.utils.set_random_seed(0)
    model = build_cnn(Model(num_blocks=2, filters=4, dense_units=0), 16, 2)
    received = compute_prediction_maps(wrap_model(model), PIXELS, CLASSES)
    assert received.method == "guided gradient"
    assert "Adebayo" in received.legend
    np.testing.assert_array_equal(received.values, explain_predictions(model, PIXELS, CLASSES))


def test_the_squares_cover_the_image():
    masks = build_occlusion_masks(16, 32)
    assert masks.shape == (81, 16, 32)
    assert set(masks.sum(axis=(1, 2))) == {16}
    assert masks.any(axis=0).sum() == 16 * 32
