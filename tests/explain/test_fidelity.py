import keras
import numpy as np
from keras import layers

from keras_inat.explain.fidelity import NUM_STEPS, Fidelity, measure_fidelity

SIZE = 12


def test_area_by_hand():
    falling = np.linspace(1, 0, NUM_STEPS + 1)
    kept = np.ones(NUM_STEPS + 1)
    fidelity = Fidelity(np.stack([falling, kept]), np.stack([kept, falling]))
    np.testing.assert_allclose(fidelity.scores, [0.5, -0.5])


def test_the_pixels_that_decide_are_told_from_those_that_do_not():
    """A classifier that looks at the brightness of the upper left corner, and at nothing else."""
    inputs = keras.Input((SIZE, SIZE, 3))
    look = layers.Dense(2, activation="softmax", use_bias=False)
    model = keras.Model(inputs, look(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))
    kernel = np.zeros((SIZE, SIZE, 3, 2), np.float32)
    kernel[:4, :4, :, 1] = 0.05
    look.set_weights([kernel.reshape(-1, 2)])
    images = np.zeros((2, SIZE, SIZE, 3), np.float32)
    images[:, :4, :4] = 255
    classes = np.ones(2, int)
    right = np.zeros((2, SIZE, SIZE), np.float32)
    right[:, :4, :4] = 1
    found = measure_fidelity(model, images, classes, {"right": right, "wrong": -right})
    probability = model(images).numpy()[:, 1]
    for fidelity in found.values():
        np.testing.assert_allclose(fidelity.deletion[:, 0], probability, rtol=1e-5)
        np.testing.assert_allclose(fidelity.insertion[:, -1], probability, rtol=1e-5)
        np.testing.assert_allclose(fidelity.deletion[:, -1], fidelity.insertion[:, 0], rtol=1e-5)
    # The corner is a ninth of the pixels: gone, or back, after the second of the twelve steps.
    assert (found["right"].deletion[:, 2] < probability - 0.05).all()
    np.testing.assert_allclose(found["right"].insertion[:, 2], probability, rtol=1e-5)
    np.testing.assert_allclose(found["wrong"].deletion[:, -3], probability, rtol=1e-5)
    assert (found["right"].scores > 0.05).all()
    assert (found["wrong"].scores < -0.05).all()
