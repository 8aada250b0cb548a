"""Guided backpropagation written out from its definition, with analytic derivatives, and a network to apply it to."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SIZE = 8
CLASSES = 3


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _normal(x):
    return np.vectorize(lambda value: 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


# Value and derivative, from textbooks.
ACTIVATIONS = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "gelu": (
        lambda x: x * _normal(x),
        lambda x: _normal(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
    ),
    "silu": (lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x)))),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x: np.where(x > 0, 1.0, np.exp(x))),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}
LAYERS = {"relu": layers.ReLU, "elu": layers.ELU}


def build_network(form="layers", activation="relu", head="dense"):
    """Returns a small network: scale, convolve, normalize, activate, pool; convolve, activate; dense, activate; head.

    Args:
        form: The activations are `layers` (`layers.Activation`), an `argument` of other layers, a `layer of its own`
            such as `layers.ReLU`, or layers of a `nested` model.
        activation: Name of the activation.
        head: The last activation: `dense` (an argument), `softmax layer`, `activation layer` or none (`logits`).
    """
    keras.utils.set_random_seed(1)
    inside = activation if form == "argument" else None
    kind = LAYERS[activation] if form == "layer of its own" else lambda: layers.Activation(activation)

    def activate(x):
        return x if inside else kind()(x)

    inputs = keras.Input((SIZE, SIZE, 3))
    x = body_inputs = keras.Input((SIZE, SIZE, 3)) if form == "nested" else inputs
    x = layers.Rescaling(1 / 127.5, -1)(x)
    x = layers.Conv2D(4, 3, padding="same", name="a", activation=inside, bias_initializer="normal")(x)
    if not inside:
        x = layers.BatchNormalization(name="b")(x)
    x = activate(x)
    x = layers.AveragePooling2D(2)(x)
    x = activate(layers.Conv2D(5, 3, padding="same", name="c", activation=inside, bias_initializer="normal")(x))
    if form == "nested":
        x = keras.Model(body_inputs, x, name="body")(inputs)
    x = layers.Flatten()(x)
    x = activate(layers.Dense(6, name="d", activation=inside, bias_initializer="normal")(x))
    outputs = layers.Dense(CLASSES, name="e", activation="softmax" if head == "dense" else None)(x)
    if head == "softmax layer":
        outputs = layers.Softmax()(outputs)
    if head == "activation layer":
        outputs = layers.Activation("softmax")(outputs)
    model = keras.Model(inputs, outputs)
    if not inside:
        draw = np.random.default_rng(2)
        _find_layer(model, "b").set_weights([draw.uniform(0.5, 1.5, 4) for _ in range(4)])
    return model


def list_steps(model, form="layers", activation="relu"):
    """Returns the same network as plain functions. A string stands for an activation."""

    def convolve(name):
        kernel, bias = (tf.cast(weight, tf.float64) for weight in _find_layer(model, name).get_weights())
        return lambda x: tf.nn.conv2d(x, kernel, 1, "SAME") + bias

    def connect(name):
        kernel, bias = (tf.cast(weight, tf.float64) for weight in _find_layer(model, name).get_weights())
        return lambda x: x @ kernel + bias

    def normalize(x):
        gamma, beta, mean, variance = (tf.cast(weight, tf.float64) for weight in _find_layer(model, "b").get_weights())
        return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta

    return [
        lambda x: x / 127.5 - 1,
        convolve("a"),
        *([] if form == "argument" else [normalize]),
        activation,
        lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
        convolve("c"),
        activation,
        lambda x: tf.reshape(x, (len(x), -1)),
        connect("d"),
        activation,
        connect("e"),
    ]


def guide(steps, images, choose):
    """Applies the definition of guided backpropagation. `choose` returns the gradient at the outputs, given them."""
    values = [images.astype(np.float64)]
    for step in steps:
        x = values[-1]
        values.append(ACTIVATIONS[step][0](x) if isinstance(step, str) else step(tf.constant(x)).numpy())
    upstream = choose(values[-1])
    for step, x, y in zip(reversed(steps), reversed(values[:-1]), reversed(values[1:]), strict=True):
        if isinstance(step, str):
            upstream = (upstream > 0) * (y > 0) * ACTIVATIONS[step][1](x) * upstream
        else:
            with tf.GradientTape() as tape:
                inputs = tf.constant(x)
                tape.watch(inputs)
                outputs = step(inputs)
            upstream = tape.gradient(outputs, inputs, output_gradients=tf.cast(upstream, outputs.dtype)).numpy()
    return upstream


def assert_gradients_equal(actual, expected):
    assert actual.dtype == np.float32
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def _find_layer(model, name):
    return next(layer for layer in model._flatten_layers() if layer.name == name)
