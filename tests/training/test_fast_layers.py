import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inat.training.fast_layers import FusedBatchNormalization, clone_layer_for_training

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(3, 2, (4, 5, 6, 3)).astype("float32")
SLOPES = RNG.normal(size=IMAGES.shape).astype("float32")


def build_pair(**settings):
    """Returns the layer of Keras and the fused one, with the same weights."""
    inputs = keras.Input(IMAGES.shape[1:])
    plain = keras.layers.BatchNormalization(momentum=0.9, **settings)
    plain(inputs)
    fused = clone_layer_for_training(plain)
    fused(inputs)
    for layer in (plain, fused):
        layer.set_weights([np.linspace(0.5, 2, 3) + index for index in range(len(layer.weights))])
    return plain, fused


def run(layer, images, training):
    """Returns the output, all gradients, and the weights afterwards."""
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=training)
        total = tf.reduce_sum(tf.cast(outputs, "float32") * SLOPES[: len(images), : images.shape[1], : images.shape[2]])
    gradients = tape.gradient(total, [images, *[weight.value for weight in layer.trainable_weights]])
    return [outputs, *gradients, *layer.get_weights()]


@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 1e-5}, {"axis": 3}])
@pytest.mark.parametrize("training", [True, False])
def test_the_fused_layer_equals_that_of_keras(settings, training):
    plain, fused = build_pair(**settings)
    assert isinstance(fused, FusedBatchNormalization)
    for expected, value in zip(run(plain, IMAGES, training), run(fused, IMAGES, training), strict=True):
        assert value.dtype == expected.dtype
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_a_frozen_layer_normalizes_with_its_moving_statistics():
    plain, fused = build_pair()
    plain.trainable = fused.trainable = False
    for expected, value in zip(run(plain, IMAGES, True), run(fused, IMAGES, True), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_single_value_per_channel_has_no_variance():
    plain, fused = build_pair()
    one = IMAGES[:1, :1, :1]
    for expected, value in zip(run(plain, one, True), run(fused, one, True), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_statistics_are_float32_in_mixed_precision(precision):
    keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        plain, fused = build_pair()
    finally:
        keras.config.set_dtype_policy("float32")
    expected, value = (run(layer, IMAGES, True) for layer in (plain, fused))
    assert value[0].dtype == precision
    assert {str(weight.dtype) for weight in fused.weights} == {"float32"}
    np.testing.assert_allclose(tf.cast(value[0], "float32"), tf.cast(expected[0], "float32"), atol=0.05)
    np.testing.assert_allclose(value[-2:], expected[-2:], rtol=1e-2)


def test_other_layers_keep_their_class():
    for layer, shape in [
        (keras.layers.BatchNormalization(), (8,)),
        (keras.layers.BatchNormalization(axis=1), (5, 6, 3)),
        (keras.layers.BatchNormalization(renorm=True), (5, 6, 3)),
        (keras.layers.Conv2D(2, 3, name="first"), (5, 6, 3)),
    ]:
        layer(keras.Input(shape))
        clone = clone_layer_for_training(layer)
        assert type(clone) is type(layer)
        assert clone.get_config() == layer.get_config()
        assert not clone.weights
