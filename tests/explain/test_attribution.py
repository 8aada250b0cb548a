"""Methods of attribution against numbers worked out by hand, on networks simple enough for it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_inat.explain.activations import build_scorer
from keras_inat.explain.attribution import (
    GREY,
    explain_by_all,
    find_edges,
    grad_cam,
    integrate_gradients,
    occlude,
    rank_pixels,
    shuffle_weights,
    smooth_gradients,
)
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.schema import Model

SIZE, CLASSES = 8, 3


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture
def linear():
    """A classifier whose scores are weighted sums of the pixels."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(inputs)))


def _build(activation="relu", **changes):
    keras.utils.set_random_seed(1)
    return build_cnn(Model(num_blocks=2, filters=4, activation=activation, dense_units=6, **changes), SIZE, CLASSES)


def _weights(linear, classes):
    return linear.layers[-1].kernel.numpy().T[classes].reshape(-1, SIZE, SIZE, 3)


def test_of_a_weighted_sum_every_method_gives_the_weights(linear, images):
    classes = np.array([2, 0, 1])
    weights = _weights(linear, classes)
    np.testing.assert_allclose(smooth_gradients(linear, images, classes), weights, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        integrate_gradients(linear, images, classes), weights * (images - GREY), rtol=1e-4, atol=1e-5
    )
    # A square hides 2 x 2 pixels; each pixel gets the mean over the squares that hide it.
    parts = (weights * (images - GREY)).sum(axis=-1)
    falls, covered = np.zeros_like(parts), np.zeros((SIZE, SIZE))
    for top in range(SIZE - 1):
        for left in range(SIZE - 1):
            hidden = np.s_[top : top + 2, left : left + 2]
            falls[:, *hidden] += parts[:, *hidden].sum(axis=(1, 2), keepdims=True)
            covered[hidden] += 1
    np.testing.assert_allclose(occlude(linear, images, classes), falls / covered, rtol=1e-3, atol=1e-3)


def test_grad_cam_by_hand(images):
    """Its maps are the three colours, and the weights of their means those of the classes."""
    inputs = keras.Input((SIZE, SIZE, 3))
    head = layers.Dense(CLASSES, activation="softmax")
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(layers.ReLU()(inputs))))
    classes = np.array([0, 1, 2])
    weights = head.kernel.numpy().T[classes] / SIZE**2
    expected = np.maximum((images * weights[:, None, None]).sum(axis=-1), 0)
    assert (expected > 0).any()
    np.testing.assert_allclose(grad_cam(model, images, classes), expected, rtol=1e-4, atol=1e-6)


def test_grad_cam_looks_where_there_are_four_by_four_positions(images):
    """block3_activation has 2 x 2, so block2_activation it is; and what is frozen is explained like the rest."""
    keras.utils.set_random_seed(1)
    model = build_cnn(Model(num_blocks=3, filters=4, activation="gelu", dense_units=0), SIZE, CLASSES)
    model.trainable = False
    classes = np.array([0, 1, 2])
    names = [layer.name for layer in model.layers]
    x = maps = None
    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        for name in names[1:]:
            layer = model.get_layer(name)
            x = layer(x, training=False) if name != "predictions" else x @ layer.kernel + layer.bias
            maps = x if name == "block2_activation" else maps
        score = tf.reduce_sum(tf.gather(x, classes, batch_dims=1))
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    heat = tf.image.resize(tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1, keepdims=True)), (SIZE, SIZE))
    assert maps.shape[1:3] == (4, 4)
    np.testing.assert_allclose(grad_cam(model, images, classes), heat[..., 0], rtol=1e-4, atol=1e-6)


def test_grad_cam_looks_at_all_networks_side_by_side(images):
    keras.utils.set_random_seed(1)
    shape = Model(num_blocks=2, filters=4, dense_units=0, pooling="average", batch_norm=False)
    both = build_cnn(shape.model_copy(update={"ensemble_size": 2}), SIZE, CLASSES)
    classes = np.array([0, 1, 2])
    kernel = both.get_layer("tower2_predictions").kernel
    seen = grad_cam(both, images, classes)
    kernel.assign(-5 * kernel)
    assert not np.allclose(grad_cam(both, images, classes), seen)
    kernel.assign(0 * kernel)
    other = both.get_layer("tower1_predictions").kernel
    alone = grad_cam(both, images, classes)
    other.assign(2 * other)
    np.testing.assert_allclose(grad_cam(both, images, classes), 2 * alone, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_integrated_gradients_add_up_to_the_score(activation, images):
    model, classes = _build(activation), np.array([0, 1, 2])
    scorer = build_scorer(model)
    scores, grey = (scorer([part]).numpy() for part in (images, np.full_like(images[:1], GREY)))
    wanted = scores[np.arange(3), classes] - grey[0, classes]
    parts = integrate_gradients(model, images, classes)
    assert parts.dtype == np.float32
    np.testing.assert_allclose(parts.sum(axis=(1, 2, 3)), wanted, rtol=0.01)


def test_edges_of_a_step():
    images = np.zeros((2, 6, 6, 3))
    images[1, :, 3:] = 255
    flat, edges = find_edges(images)
    assert not flat.any()
    assert (edges[:, [0, 1, 4, 5]] == 0).all()
    assert (edges[:, 2:4] == 4 * 255).all()


def test_shuffled_weights_are_the_same_numbers_in_another_place(images):
    model = _build()
    before = model.get_weights()
    shuffled = shuffle_weights(model)
    for weight, old, new in zip(model.weights, before, shuffled.get_weights(), strict=True):
        np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))
        if weight.name in ("kernel", "moving_mean", "moving_variance"):
            assert (weight.name == "kernel") == (old != new).any()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_explaining_by_all_methods_leaves_the_model_as_it_is(images):
    model, classes = _build(), np.array([0, 1, 2])
    weights, outputs = model.get_weights(), model(images).numpy()
    functions = [getattr(layer, "activation", None) for layer in model.layers]
    explained = explain_by_all(model, images, classes)
    for name, attribution in explained.items():
        assert attribution.shape in ((3, SIZE, SIZE), (3, SIZE, SIZE, 3)), name
        assert rank_pixels(name, attribution).shape == (3, SIZE, SIZE), name
        assert np.isfinite(attribution).all(), name
    guided = explained["Guided backpropagation"]
    np.testing.assert_array_equal(explained["Guided Grad-CAM"], guided * explained["Grad-CAM"][..., None])
    assert [getattr(layer, "activation", None) for layer in model.layers] == functions
    np.testing.assert_array_equal(model(images).numpy(), outputs)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_signs_count_where_they_mean_something():
    attribution = np.array([1.0, -2, 0.5]).reshape(1, 1, 1, 3)
    assert rank_pixels("Integrated gradients", attribution) == -0.5
    assert rank_pixels("SmoothGrad", attribution) == 3.5
