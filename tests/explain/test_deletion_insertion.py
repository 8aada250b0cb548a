import keras
import numpy as np
from keras import layers

from keras_inat.explain.deletion_insertion import NUM_STEPS, DeletionInsertion, compute_deletion_insertion

SIZE = 12


def test_scores_by_hand():
    falling = np.linspace(1, 0, NUM_STEPS + 1)
    kept = np.ones(NUM_STEPS + 1)
    curves = DeletionInsertion(np.stack([falling, kept]), np.stack([kept, falling]))
    np.testing.assert_allclose(curves.scores, [0.5, -0.5])


def test_important_pixels_have_higher_scores_than_unimportant_ones():
    """The prediction depends only on the brightness of the upper left corner."""
    inputs = keras.Input((SIZE, SIZE, 3))
    head = layers.Dense(2, activation="softmax", use_bias=False)
    model = keras.Model(inputs, head(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))
    kernel = np.zeros((SIZE, SIZE, 3, 2), np.float32)
    kernel[:4, :4, :, 1] = 0.05
    head.set_weights([kernel.reshape(-1, 2)])
    images = np.zeros((2, SIZE, SIZE, 3), np.float32)
    images[:, :4, :4] = 255
    classes = np.ones(2, int)
    right = np.zeros((2, SIZE, SIZE), np.float32)
    right[:, :4, :4] = 1
    found = compute_deletion_insertion(model, images, classes, {"right": right, "wrong": -right})
    probability = model(images).numpy()[:, 1]
    for curves in found.values():
        np.testing.assert_allclose(curves.deletion[:, 0], probability, rtol=1e-5)
        np.testing.assert_allclose(curves.insertion[:, -1], probability, rtol=1e-5)
        np.testing.assert_allclose(curves.deletion[:, -1], curves.insertion[:, 0], rtol=1e-5)
    # The corner has a ninth of the pixels. They are deleted or inserted within the first two of the twelve steps.
    assert (found["right"].deletion[:, 2] < probability - 0.05).all()
    np.testing.assert_allclose(found["right"].insertion[:, 2], probability, rtol=1e-5)
    np.testing.assert_allclose(found["wrong"].deletion[:, -3], probability, rtol=1e-5)
    assert (found["right"].scores > 0.05).all()
    assert (found["wrong"].scores < -0.05).all()
