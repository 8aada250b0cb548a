"""Guided gradients against the definition, written out step by step with analytic derivatives."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_inat.explain import activations
from keras_inat.explain.guided import explain_neurons, explain_predictions, measure_selectivity
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.schema import Model

SIZE, CLASSES = 8, 3


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _normal(x):
    return np.vectorize(lambda value: 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


# Value and derivative, from the textbook.
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


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (5, SIZE, SIZE, 3)).astype(np.float32)


def _build(form="layers", activation="relu", head="dense"):
    """Scale, convolve, normalise, activate, pool; convolve, activate; flatten; dense, activate; classify."""
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
        _find(model, "b").set_weights([draw.uniform(0.5, 1.5, 4) for _ in range(4)])
    return model


def _find(model, name):
    return next(layer for layer in model._flatten_layers() if layer.name == name)


def _steps(model, form, activation):
    """The same network as plain functions; a string is an activation."""

    def convolve(name):
        kernel, bias = (tf.cast(weight, tf.float64) for weight in _find(model, name).get_weights())
        return lambda x: tf.nn.conv2d(x, kernel, 1, "SAME") + bias

    def connect(name):
        kernel, bias = (tf.cast(weight, tf.float64) for weight in _find(model, name).get_weights())
        return lambda x: x @ kernel + bias

    def normalise(x):
        gamma, beta, mean, variance = (tf.cast(weight, tf.float64) for weight in _find(model, "b").get_weights())
        return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta

    return [
        lambda x: x / 127.5 - 1,
        convolve("a"),
        *([] if form == "argument" else [normalise]),
        activation,
        lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
        convolve("c"),
        activation,
        lambda x: tf.reshape(x, (len(x), -1)),
        connect("d"),
        activation,
        connect("e"),
    ]


def _define(steps, images, choose):
    """Guided backpropagation from its definition; `choose` gives the gradient at the top from the outputs."""
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


def _assert_equal(actual, expected):
    assert actual.dtype == np.float32
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


FORMS = [
    *((form, activation) for form in ("layers", "argument", "nested") for activation in ("relu", "gelu", "silu")),
    ("layer of its own", "relu"),
    ("layer of its own", "elu"),
    ("layers", "tanh"),
]


@pytest.mark.parametrize(("form", "activation"), FORMS)
def test_gradients_of_the_predicted_class_follow_the_definition(images, form, activation):
    model = _build(form, activation)
    expected = _define(_steps(model, form, activation), images, lambda logits: np.eye(CLASSES)[logits.argmax(axis=1)])
    _assert_equal(explain_predictions(model, images), expected)


@pytest.mark.parametrize("head", ["dense", "softmax layer", "activation layer", "logits"])
def test_given_classes_are_explained_whatever_the_head(images, head, monkeypatch):
    monkeypatch.setattr(activations, "BATCH_SIZE", 2)
    model, classes = _build(head=head), np.array([2, 0, 1, 1, 0])
    expected = _define(_steps(model, "layers", "relu"), images, lambda _: np.eye(CLASSES)[classes])
    _assert_equal(explain_predictions(model, images, classes), expected)


def test_fewer_images_at_once_the_larger_they_are(monkeypatch):
    monkeypatch.setattr(activations, "BATCH_SIZE", 4)
    monkeypatch.setattr(activations, "BATCH_PIXELS", 3 * 100)
    for side, lengths in ((5, [4, 4]), (10, [3, 3, 2]), (13, [1] * 8), (50, [1] * 8)):
        images, numbers = np.zeros((8, side, side, 3), np.uint8), np.arange(8)
        batches = activations.split_batches(images, numbers)
        assert [len(batch) for batch, _ in batches] == lengths
        assert np.concatenate([part for _, part in batches]).tolist() == numbers.tolist()


def test_a_nested_head_is_made_linear(images):
    inner = _build()
    inputs = keras.Input((SIZE, SIZE, 3))
    np.testing.assert_array_equal(
        explain_predictions(keras.Model(inputs, inner(inputs)), images), explain_predictions(inner, images)
    )


def test_a_layer_used_twice_is_guided_once(images):
    keras.utils.set_random_seed(1)
    inputs, shared = keras.Input((SIZE, SIZE, 3)), layers.Activation("silu")
    first, second = layers.Conv2D(4, 3, name="a"), layers.Conv2D(2, 3, name="c")
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
    expected = _define(steps, small, lambda outputs: np.eye(32)[outputs.argmax(axis=1)])
    _assert_equal(explain_predictions(model, small), expected)


@pytest.mark.parametrize("layer", [layers.PReLU, lambda: layers.LeakyReLU(0.3)], ids=["PReLU", "LeakyReLU"])
def test_leaky_layers_let_nothing_below_zero_through(images, layer):
    inputs = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(inputs, layers.Flatten()(layer()(layers.Rescaling(1, -128)(inputs))))
    lowest = images.reshape(5, -1).argmin(axis=1)
    assert not explain_predictions(model, images, lowest).any()
    highest = images.reshape(5, -1).argmax(axis=1)
    expected = np.eye(SIZE * SIZE * 3)[highest].reshape(images.shape)
    np.testing.assert_allclose(explain_predictions(model, images, highest), expected)


@pytest.mark.parametrize("form", ["layers", "argument", "nested", "layer of its own"])
def test_the_model_stays_as_it_is(images, form):
    model = _build(form)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10)), "categorical_crossentropy")
    flat = list(model._flatten_layers())

    def look():
        return [(getattr(layer, "activation", None), layer.trainable, "call" in vars(layer)) for layer in flat]

    def differentiate():
        with tf.GradientTape() as tape:
            watched = tf.constant(images)
            tape.watch(watched)
            score = tf.reduce_sum(tf.square(model(watched)))
        return tape.gradient(score, watched).numpy()

    weights, outputs, functions, gradient = model.get_weights(), model(images).numpy(), look(), differentiate()
    explain_predictions(model, images)
    if form != "nested":
        explain_neurons(model, images, 2)
    assert look() == functions
    assert list(model._flatten_layers()) == flat
    np.testing.assert_array_equal(model(images).numpy(), outputs)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(differentiate(), gradient)


def test_nothing_to_guide_is_an_error(images):
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    with pytest.raises(ValueError, match=r"needs non-linear activations.*Received: .*Dense, Flatten"):
        explain_predictions(model, images)


def test_neurons_exist_and_their_image_excites_them_most(images, monkeypatch):
    monkeypatch.setattr(activations, "BATCH_SIZE", 3)
    keras.utils.set_random_seed(0)
    model = build_cnn(Model(num_blocks=2, filters=6, activation="gelu", dense_units=0), SIZE, CLASSES)
    layer = model.get_layer("block2_activation")
    maps = keras.Model(model.inputs, layer.output)([images]).numpy()
    explanations = explain_neurons(model, images, num_neurons=7, num_images=2, seed=3)
    assert len({(neuron.row, neuron.column, neuron.filter) for neuron in explanations}) == 7
    for neuron in explanations:
        assert neuron.layer == "block2_activation"
        responses = maps[:, neuron.row, neuron.column, neuron.filter]
        assert neuron.images == tuple(np.argsort(-responses)[:2])
        np.testing.assert_allclose(neuron.activations, np.sort(responses)[:-3:-1], rtol=1e-5)
        assert neuron.activations[0] > 0
        assert neuron.gradients.shape == (2, SIZE, SIZE, 3)
        assert neuron.gradients[0].any()
        assert neuron.preferred is None


def test_neurons_of_every_channel_follow_the_definition(images):
    model = _build()
    steps = _steps(model, "layers", "relu")[:6]
    explanations = explain_neurons(model, images, num_neurons=20)
    for neuron in explanations:

        def choose(maps, neuron=neuron):
            top = np.zeros_like(maps)
            top[0, neuron.row, neuron.column, neuron.filter] = 1
            return top

        _assert_equal(neuron.gradients, _define(steps, images[list(neuron.images)], choose))


@pytest.mark.parametrize(
    "ceiling", [lambda: layers.ReLU(6.0), lambda: layers.Activation("relu6")], ids=["ReLU", "relu6"]
)
def test_a_neuron_at_its_ceiling_is_explained(images, ceiling):
    """MobileNet's strongest neurons sit at 6, where the derivative of their activation is zero."""
    inputs = keras.Input((SIZE, SIZE, 3))
    convolve = layers.Conv2D(1, SIZE - 1, bias_initializer=keras.initializers.Constant(1e6))
    model = keras.Model(inputs, ceiling()(convolve(inputs)))
    neurons = explain_neurons(model, images)
    assert len(neurons) == 4
    for neuron in neurons:
        assert neuron.activations == [6]
        # All images are at the ceiling; the one that would be highest without it comes first.
        (rows, columns) = (slice(start, start + SIZE - 1) for start in (neuron.row, neuron.column))
        sums = (images[:, rows, columns] * convolve.kernel[..., 0]).numpy().sum(axis=(1, 2, 3))
        assert neuron.images == (int(sums.argmax()),)
        expected = np.zeros((SIZE, SIZE, 3))
        expected[neuron.row :, neuron.column :][: SIZE - 1, : SIZE - 1] = convolve.kernel[..., 0]
        np.testing.assert_allclose(neuron.gradients, expected[None], rtol=1e-6)


def test_the_seed_decides_which_neurons(images):
    model = _build()

    def chosen(seed):
        return [(neuron.row, neuron.column, neuron.filter) for neuron in explain_neurons(model, images, 5, seed=seed)]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)


def test_dead_neurons_are_not_chosen(images):
    model = _build()
    kernel, bias = model.get_layer("c").get_weights()
    bias[:] = [-1e6, -1e6, 1e3, -1e6, -1e6]
    model.get_layer("c").set_weights([kernel, bias])
    found = explain_neurons(model, images, num_neurons=100)
    assert sorted((neuron.row, neuron.column) for neuron in found) == [
        (row, col) for row in range(4) for col in range(4)
    ]
    assert {neuron.filter for neuron in found} == {2}
    bias[2] = -1e6
    model.get_layer("c").set_weights([kernel, bias])
    assert explain_neurons(model, images) == []


# All elementwise functions of keras.activations that are not linear; `relu` and four others are above, from textbooks.
EVERY = sorted(
    name
    for name, function in vars(keras.activations).items()
    if callable(function)
    and name
    not in ("get", "serialize", "deserialize", "linear", "softmax", "log_softmax", "sparsemax", "glu", "threshold")
)


@pytest.mark.parametrize("name", EVERY)
def test_every_activation_of_keras_follows_the_definition(images, name):
    """Derivatives by differences of the function's own values, in double precision."""
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
    assert (np.abs(expected).max() > 0) == (name != "log_sigmoid")  # which is never positive
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_functions_without_a_layer_are_guided(images):
    """`keras.ops.relu` of a symbolic tensor is an operation in the graph, and no layer."""

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


def test_the_mean_of_several_networks_is_explained_by_the_mean_of_their_scores(images):
    keras.utils.set_random_seed(0)
    shape = Model(num_blocks=2, filters=4, dense_units=0, pooling="average")
    single = [build_cnn(shape, SIZE, CLASSES) for _ in range(2)]
    both = build_cnn(shape.model_copy(update={"ensemble_size": 2}), SIZE, CLASSES)
    for network, prefix in zip(single, ("", "tower2_"), strict=True):
        for layer in network.layers:
            name = f"{prefix or 'tower1_'}predictions" if layer.name == "predictions" else f"{prefix}{layer.name}"
            if layer.weights:
                both.get_layer(name).set_weights(layer.get_weights())
    classes = np.array([2, 0, 1, 1, 0])
    expected = sum(explain_predictions(network, images, classes) for network in single) / 2
    _assert_equal(explain_predictions(both, images, classes), expected)
    # By itself it explains the class that it predicts, which the mean of the scores need not prefer.
    for layer, bias in (("tower1_predictions", [8.0, 0, 0]), ("tower2_predictions", [-6, 3, 2.5])):
        kernel, _ = both.get_layer(layer).get_weights()
        both.get_layer(layer).set_weights([1e-3 * kernel, np.array(bias)])
    assert both(images).numpy().argmax(axis=1).tolist() == [0] * 5
    np.testing.assert_array_equal(
        explain_predictions(both, images), explain_predictions(both, images, np.zeros(5, int))
    )


def test_the_five_blocks_follow_the_definition():
    """Layer by layer: max pooling, batch normalisation, average over positions, dense layer."""
    keras.utils.set_random_seed(4)
    model = build_cnn(Model(filters=8, filter_organization="double", pooling="average", dense_units=12), 64, CLASSES)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            layer.set_weights([rng.uniform(0.5, 1.5, 4)[0] * np.abs(array) + 0.1 for array in layer.get_weights()])
    images, head = rng.uniform(0, 255, (3, 64, 64, 3)), model.layers[-1]
    steps = [
        "relu" if layer.name.endswith("activation") else functools.partial(layer, training=False)
        for layer in model.layers[1:-1]
    ]
    steps.append(lambda x: tf.cast(x, tf.float32) @ head.kernel + head.bias)
    classes = np.array([2, 0, 1])
    expected = _define(steps, images, lambda _: np.eye(CLASSES, dtype=np.float32)[classes])
    _assert_equal(explain_predictions(model, images, classes), expected)


def test_selectivity_by_hand():
    activations = np.array([[4.0, -1, 0], [2, 5, 0], [1, 1, 0], [0, 0, 0]])
    preferred, selectivity = measure_selectivity(activations, np.array([7, 7, 3, 5]))
    np.testing.assert_array_equal(preferred, [7, 7, 3])
    # Means by class (3, 5, 7): 1, 0, 3 and 1, 0, 2.5 and none.
    np.testing.assert_allclose(selectivity, [2.5 / 3.5, 2 / 3, 0])


def test_one_class_tells_no_selectivity():
    with pytest.raises(ValueError, match="at least two classes"):
        measure_selectivity(np.ones((3, 2)), np.zeros(3, int))


def test_the_most_selective_neurons_come_first(images):
    model, labels = _build(), np.array([0, 1, 1, 0, 2])
    maps = keras.Model(model.inputs, activations.find_spatial_activations(model)[-1].output)([images]).numpy()
    _, selectivity = measure_selectivity(maps, labels)
    selectivity[~(maps > 0).all(axis=0)] = -1
    neurons = explain_neurons(model, images, 3, labels=labels, most_selective=True)
    assert len({neuron.filter for neuron in neurons}) == len(neurons)
    assert [neuron.selectivity for neuron in neurons] == sorted((n.selectivity for n in neurons), reverse=True)
    assert neurons[0].selectivity == pytest.approx(selectivity.max())
    assert neurons[0].preferred in labels


def test_neurons_are_excited_by_as_many_images_as_are_shown(images):
    """One neuron of the second filter is excited by all images, those of the first by one each at most."""
    inputs = keras.Input((SIZE, SIZE, 3))
    convolve = layers.Conv2D(2, 1, kernel_initializer="zeros", activation="relu")
    model = keras.Model(inputs, convolve(inputs))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0] = [1, 1]
    convolve.set_weights([kernel, np.array([-250, 0], np.float32)])
    assert {neuron.filter for neuron in explain_neurons(model, images, 10, num_images=4)} == {1}
