"""Attribution methods compared with values computed by hand, on simple networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_inat.explain.attribution import (
    GRAY,
    NUM_STEPS,
    DeletionInsertion,
    compute_attributions,
    compute_deletion_insertion,
    compute_edges,
    compute_grad_cam,
    compute_importance,
    compute_integrated_gradients,
    compute_occlusion,
    compute_smooth_grad,
    randomize_weights,
)
from keras_inat.explain.networks import build_logits_model
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model

SIZE = 8
CLASSES = 3


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture
def linear():
    """A classifier whose logits are weighted sums of the pixels."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(inputs)))


def _build(activation="relu", **changes):
    keras.utils.set_random_seed(1)
    return build_cnn(Model(num_blocks=2, filters=4, activation=activation, dense_units=6, **changes), SIZE, CLASSES)


def _weights(linear, classes):
    return linear.layers[-1].kernel.numpy().T[classes].reshape(-1, SIZE, SIZE, 3)


def test_every_method_returns_the_weights_of_a_linear_model(linear, images):
    classes = np.array([2, 0, 1])
    weights = _weights(linear, classes)
    np.testing.assert_allclose(compute_smooth_grad(linear, images, classes), weights, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        compute_integrated_gradients(linear, images, classes), weights * (images - GRAY), rtol=1e-4, atol=1e-5
    )
    # A square covers 2 x 2 pixels. The value of a pixel is the mean over the squares that cover it.
    parts = (weights * (images - GRAY)).sum(axis=-1)
    decreases = np.zeros_like(parts)
    covers = np.zeros((SIZE, SIZE))
    for top in range(SIZE - 1):
        for left in range(SIZE - 1):
            hidden = np.s_[top : top + 2, left : left + 2]
            decreases[:, *hidden] += parts[:, *hidden].sum(axis=(1, 2), keepdims=True)
            covers[hidden] += 1
    np.testing.assert_allclose(compute_occlusion(linear, images, classes), decreases / covers, rtol=1e-3, atol=1e-3)


def test_grad_cam_by_hand(images):
    """The feature maps are the three channels of the image."""
    inputs = keras.Input((SIZE, SIZE, 3))
    head = layers.Dense(CLASSES, activation="softmax")
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(layers.ReLU()(inputs))))
    classes = np.array([0, 1, 2])
    weights = head.kernel.numpy().T[classes] / SIZE**2
    expected = np.maximum((images * weights[:, None, None]).sum(axis=-1), 0)
    assert (expected > 0).any()
    np.testing.assert_allclose(compute_grad_cam(model, images, classes), expected, rtol=1e-4, atol=1e-6)


def test_grad_cam_uses_a_layer_with_four_by_four_positions(images):
    """block3_activation has only 2 x 2 positions, so the layer is block2_activation. The model is frozen."""
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
    np.testing.assert_allclose(compute_grad_cam(model, images, classes), heat[..., 0], rtol=1e-4, atol=1e-6)


def test_grad_cam_covers_all_networks_of_an_ensemble(images):
    keras.utils.set_random_seed(1)
    shape = Model(num_blocks=1, filters=4, dense_units=0, pooling="average", batch_norm=False)
    both = build_cnn(shape.model_copy(update={"ensemble_size": 2}), SIZE, CLASSES)
    classes = np.array([0, 1, 2])
    kernel = both.get_layer("member2_predictions").kernel
    before = compute_grad_cam(both, images, classes)
    kernel.assign(-5 * kernel)
    assert not np.allclose(compute_grad_cam(both, images, classes), before)
    kernel.assign(0 * kernel)
    other = both.get_layer("member1_predictions").kernel
    alone = compute_grad_cam(both, images, classes)
    other.assign(2 * other)
    np.testing.assert_allclose(compute_grad_cam(both, images, classes), 2 * alone, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_integrated_gradients_add_up_to_the_score(activation, images):
    model = _build(activation)
    classes = np.array([0, 1, 2])
    logits_model = build_logits_model(model)
    scores = logits_model([images]).numpy()
    gray_scores = logits_model([np.full_like(images[:1], GRAY)]).numpy()
    wanted = scores[np.arange(3), classes] - gray_scores[0, classes]
    parts = compute_integrated_gradients(model, images, classes)
    assert parts.dtype == np.float32
    np.testing.assert_allclose(parts.sum(axis=(1, 2, 3)), wanted, rtol=0.01)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_integrated_gradients_are_those_of_many_steps(activation):
    """Every attribution is within 2 % of the largest one of the trapezoidal rule with 512 steps."""
    keras.utils.set_random_seed(2)
    model = build_cnn(Model(num_blocks=3, filters=8, activation=activation, dense_units=6), 16, CLASSES)
    images = np.random.default_rng(3).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
    classes = np.array([0, 1, 2, 0])
    logits_model = build_logits_model(model)
    received = compute_integrated_gradients(model, images, classes)
    fractions = np.linspace(0, 1, 513, dtype=np.float32)[:, None, None, None]
    for image, label, attribution in zip(images, classes, received, strict=True):
        points = tf.constant(GRAY + fractions * (image - GRAY))
        with tf.GradientTape() as tape:
            tape.watch(points)
            scores = logits_model([points], training=False)[:, label]
        expected = (image - GRAY) * np.trapezoid(tape.gradient(scores, points), dx=1 / 512, axis=0)
        assert np.abs(attribution - expected).max() <= 0.02 * np.abs(expected).max()


def test_edges_of_a_step():
    images = np.zeros((2, 6, 6, 3))
    images[1, :, 3:] = 255
    flat, edges = compute_edges(images)
    assert not flat.any()
    assert (edges[:, [0, 1, 4, 5]] == 0).all()
    assert (edges[:, 2:4] == 4 * 255).all()


def test_randomized_weights_are_a_permutation(images):
    model = _build()
    before = model.get_weights()
    randomized = randomize_weights(model)
    for weight, old, new in zip(model.weights, before, randomized.get_weights(), strict=True):
        np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))
        if weight.name in ("kernel", "moving_mean", "moving_variance"):
            assert (weight.name == "kernel") == (old != new).any()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_computing_attributions_does_not_change_the_model(images):
    model = _build()
    classes = np.array([0, 1, 2])
    weights = model.get_weights()
    outputs = model(images).numpy()
    functions = [getattr(layer, "activation", None) for layer in model.layers]
    explained = compute_attributions(model, images, classes)
    for name, attribution in explained.items():
        assert attribution.shape in ((3, SIZE, SIZE), (3, SIZE, SIZE, 3)), name
        assert compute_importance(name, attribution).shape == (3, SIZE, SIZE), name
        assert np.isfinite(attribution).all(), name
    guided = explained["Guided backpropagation"]
    np.testing.assert_array_equal(explained["Guided Grad-CAM"], guided * explained["Grad-CAM"][..., None])
    assert [getattr(layer, "activation", None) for layer in model.layers] == functions
    np.testing.assert_array_equal(model(images).numpy(), outputs)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_only_integrated_gradients_keep_their_signs():
    attribution = np.array([1.0, -2, 0.5]).reshape(1, 1, 1, 3)
    assert compute_importance("Integrated gradients", attribution) == -0.5
    assert compute_importance("SmoothGrad", attribution) == 3.5


def test_deletion_and_insertion_scores_by_hand():
    falling = np.linspace(1, 0, NUM_STEPS + 1)
    kept = np.ones(NUM_STEPS + 1)
    curves = DeletionInsertion(np.stack([falling, kept]), np.stack([kept, falling]))
    np.testing.assert_allclose(curves.scores, [0.5, -0.5])


def test_important_pixels_have_higher_scores_than_unimportant_ones():
    """The prediction depends only on the brightness of the upper left corner."""
    side = 12
    inputs = keras.Input((side, side, 3))
    head = layers.Dense(2, activation="softmax", use_bias=False)
    model = keras.Model(inputs, head(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))
    kernel = np.zeros((side, side, 3, 2), np.float32)
    kernel[:4, :4, :, 1] = 0.05
    head.set_weights([kernel.reshape(-1, 2)])
    images = np.zeros((2, side, side, 3), np.float32)
    images[:, :4, :4] = 255
    classes = np.ones(2, int)
    right = np.zeros((2, side, side), np.float32)
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
