import keras
import numpy as np

from keras_inat.explain import activation_maximization
from keras_inat.explain.feature_maps import find_stages
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model


def test_synthetic_images_activate_their_filters_more_than_noise(monkeypatch):
    monkeypatch.setattr(activation_maximization, "NUM_STEPS", 8)
    keras.utils.set_random_seed(0)
    model = build_cnn(Model(num_blocks=2, filters=6, activation="relu"), 16, 3)
    stages = find_stages(model)
    filters = [(0, 1), (0, 4), (1, 2)]
    before = model.get_weights()
    synthetic = activation_maximization.maximize_filters(model, stages, filters, np.ones(3), (16, 16, 3))
    noise = np.random.default_rng(5).normal(128, 12, synthetic.shape).astype(np.float32)
    assert synthetic.min() >= 0
    assert synthetic.max() <= 255
    preactivations = keras.Model(model.inputs, [layer.input for layer in stages])
    for index, (stage, channel) in enumerate(filters):
        values = [preactivations([batch])[stage][index, ..., channel].numpy().mean() for batch in (noise, synthetic)]
        assert values[1] > values[0] + 0.1
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
