"""Guided gradients compared with the definition, step by step, with analytic derivatives."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from guided_definition import CLASSES, SIZE, assert_gradients_equal, build_network, guide, list_steps
from keras import layers

from keras_inat.explain import networks
from keras_inat.explain.guided_backpropagation import explain_neurons, explain_predictions
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model

FORMS = [
    *((form, activation) for form in ("layers", "argument", "nested") for activation in ("relu", "gelu", "silu")),
    ("layer of its own", "relu"),
    ("layer of its own", "elu"),
    ("layers", "tanh"),
]


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (5, SIZE, SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize(("form", "activation"), FORMS)
def test_gradients_of_the_predicted_class_follow_the_definition(images, form, activation):
    model = build_network(form, activation)
    expected = guide(list_steps(model, form, activation), images, lambda logits: np.eye(CLASSES)[logits.argmax(axis=1)])
    assert_gradients_equal(explain_predictions(model, images), expected)


@pytest.mark.parametrize("head", ["dense", "softmax layer", "activation layer", "logits"])
def test_given_classes_are_explained_for_every_head(images, head, monkeypatch):
    monkeypatch.setattr(networks, "BATCH_SIZE", 2)
    model = build_network(head=head)
    classes = np.array([2, 0, 1, 1, 0])
    expected = guide(list_steps(model), images, lambda _: np.eye(CLASSES)[classes])
    assert_gradients_equal(explain_predictions(model, images, classes), expected)


def test_a_nested_head_is_made_linear(images):
    inner = build_network()
    inputs = keras.Input((SIZE, SIZE, 3))
    np.testing.assert_array_equal(
        explain_predictions(keras.Model(inputs, inner(inputs)), images), explain_predictions(inner, images)
    )


def test_a_layer_used_twice_is_guided_once(images):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3))
    shared = layers.Activation("silu")
    first = layers.Conv2D(4, 3, name="a")
    second = layers.Conv2D(2, 3, name="c")
    model = keras.Model(inputs, layers.Flatten()(shared(second(shared(first(inputs))))))
    kernels = [tf.cast(layer.kernel, tf.float64) for layer in (first, second)]
    steps = [
        lambda x: tf.nn.conv2d(x, kernels[0], 1, "VALID"),
        "silu",
        lambda x: tf.nn.conv2d(x, kernels[1], 1, "VALID"),
        "silu",
        lambda x: tf.reshape(x, (len(x), -1)),
    ]
    small = images / 255
    expected = guide(steps, small, lambda outputs: np.eye(32)[outputs.argmax(axis=1)])
    assert_gradients_equal(explain_predictions(model, small), expected)


@pytest.mark.parametrize("layer", [layers.PReLU, lambda: layers.LeakyReLU(0.3)], ids=["PReLU", "LeakyReLU"])
def test_leaky_layers_block_gradients_below_zero(images, layer):
    inputs = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(inputs, layers.Flatten()(layer()(layers.Rescaling(1, -128)(inputs))))
    lowest = images.reshape(5, -1).argmin(axis=1)
    assert not explain_predictions(model, images, lowest).any()
    highest = images.reshape(5, -1).argmax(axis=1)
    expected = np.eye(SIZE * SIZE * 3)[highest].reshape(images.shape)
    np.testing.assert_allclose(explain_predictions(model, images, highest), expected)


@pytest.mark.parametrize("form", ["layers", "argument", "nested", "layer of its own"])
def test_the_model_is_unchanged(images, form):
    model = build_network(form)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10)), "categorical_crossentropy")
    flat = list(model._flatten_layers())

    def read_layers():
        return [(getattr(layer, "activation", None), layer.trainable, "call" in vars(layer)) for layer in flat]

    def differentiate():
        with tf.GradientTape() as tape:
            watched = tf.constant(images)
            tape.watch(watched)
            score = tf.reduce_sum(tf.square(model(watched)))
        return tape.gradient(score, watched).numpy()

    weights = model.get_weights()
    outputs = model(images).numpy()
    functions = read_layers()
    gradient = differentiate()
    explain_predictions(model, images)
    if form != "nested":
        explain_neurons(model, images, np.arange(5) % 2, 2)
    assert read_layers() == functions
    assert list(model._flatten_layers()) == flat
    np.testing.assert_array_equal(model(images).numpy(), outputs)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(differentiate(), gradient)


def test_a_model_without_activations_is_an_error(images):
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    with pytest.raises(ValueError, match=r"needs non-linear activations.*Received: .*Dense, Flatten"):
        explain_predictions(model, images)


# All non-linear elementwise functions of keras.activations. Five of them are also tested with textbook derivatives.
EVERY = sorted(
    name
    for name, function in vars(keras.activations).items()
    if callable(function)
    and name
    not in ("get", "serialize", "deserialize", "linear", "softmax", "log_softmax", "sparsemax", "glu", "threshold")
)


@pytest.mark.parametrize("name", EVERY)
def test_every_activation_of_keras_follows_the_definition(images, name):
    """The derivatives are differences of the function's values, in double precision."""
    function = getattr(keras.activations, name)
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIZE, SIZE, 3))
    convolve = layers.Conv2D(4, 3, activation=name, bias_initializer="normal")
    x = layers.Flatten()(convolve(layers.Rescaling(1 / 127.5, -1)(inputs)))
    head = layers.Dense(CLASSES)
    model = keras.Model(inputs, head(x))
    kernel, bias = (tf.cast(weight, tf.float64) for weight in convolve.get_weights())
    before = tf.nn.conv2d(images.astype(np.float64) / 127.5 - 1, kernel, 1, "VALID") + bias
    step = 1e-6
    values = [np.asarray(function(tf.constant(before + shift))) for shift in (-step, 0.0, step)]
    classes = np.array([2, 0, 1, 1, 0])
    upstream = head.kernel.numpy().astype(np.float64).T[classes].reshape(values[1].shape)
    upstream = (upstream > 0) * (values[1] > 0) * (values[2] - values[0]) / (2 * step) * upstream
    expected = tf.nn.conv2d_transpose(upstream, kernel, images.shape, 1, "VALID").numpy() / 127.5
    actual = explain_predictions(model, images, classes)
    assert (np.abs(expected).max() > 0) == (name != "log_sigmoid")  # never positive
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_functions_without_a_layer_are_guided(images):
    """`keras.ops.relu` of a symbolic tensor is an operation in the graph, not a layer."""

    def build(activate, softmax):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((SIZE, SIZE, 3))
        x = activate(layers.Conv2D(4, 3, name="a")(layers.Rescaling(1 / 127.5, -1)(inputs)))
        return keras.Model(inputs, softmax(layers.Dense(CLASSES)(layers.Flatten()(x))))

    expected = explain_predictions(build(layers.Activation("relu"), layers.Softmax()), images)
    model = build(keras.ops.relu, keras.ops.softmax)
    outputs = model(images).numpy()
    np.testing.assert_array_equal(explain_predictions(model, images), expected)
    np.testing.assert_array_equal(model(images).numpy(), outputs)


def test_an_ensemble_is_explained_by_the_mean_of_its_logits(images):
    keras.utils.set_random_seed(0)
    shape = Model(num_blocks=1, filters=4, dense_units=0, pooling="average")
    single = [build_cnn(shape, SIZE, CLASSES) for _ in range(2)]
    both = build_cnn(shape.model_copy(update={"ensemble_size": 2}), SIZE, CLASSES)
    for network, prefix in zip(single, ("", "member2_"), strict=True):
        for layer in network.layers:
            name = f"{prefix or 'member1_'}predictions" if layer.name == "predictions" else f"{prefix}{layer.name}"
            if layer.weights:
                both.get_layer(name).set_weights(layer.get_weights())
    classes = np.array([2, 0, 1, 1, 0])
    expected = sum(explain_predictions(network, images, classes) for network in single) / 2
    assert_gradients_equal(explain_predictions(both, images, classes), expected)
    # Without given classes, the predicted class is explained. Its mean logit need not be the highest.
    for layer, bias in (("member1_predictions", [8.0, 0, 0]), ("member2_predictions", [-6, 3, 2.5])):
        kernel, _ = both.get_layer(layer).get_weights()
        both.get_layer(layer).set_weights([1e-3 * kernel, np.array(bias)])
    assert both(images).numpy().argmax(axis=1).tolist() == [0] * 5
    np.testing.assert_array_equal(
        explain_predictions(both, images), explain_predictions(both, images, np.zeros(5, int))
    )


def test_the_five_blocks_follow_the_definition():
    """The layers include max pooling, batch normalization, global average pooling and a dense layer."""
    keras.utils.set_random_seed(4)
    model = build_cnn(Model(filters=8, filter_organization="double", pooling="average", dense_units=12), 64, CLASSES)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            layer.set_weights([rng.uniform(0.5, 1.5, 4)[0] * np.abs(array) + 0.1 for array in layer.get_weights()])
    images = rng.uniform(0, 255, (3, 64, 64, 3))
    head = model.layers[-1]
    steps = [
        "relu" if layer.name.endswith("activation") else functools.partial(layer, training=False)
        for layer in model.layers[1:-1]
    ]
    steps.append(lambda x: tf.cast(x, tf.float32) @ head.kernel + head.bias)
    classes = np.array([2, 0, 1])
    expected = guide(steps, images, lambda _: np.eye(CLASSES, dtype=np.float32)[classes])
    assert_gradients_equal(explain_predictions(model, images, classes), expected)
