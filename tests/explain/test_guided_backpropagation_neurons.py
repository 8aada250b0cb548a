"""Neurons: which ones are chosen, their top activating images, their guided gradients and their selectivity."""

import keras
import numpy as np
import pytest
from guided_definition import CLASSES, SIZE, build_network, guide, list_steps
from keras import layers

from keras_inat.explain import networks
from keras_inat.explain.guided_backpropagation import explain_neurons, measure_selectivity
from keras_inat.explain.networks import find_spatial_activations
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model

LABELS = np.arange(5) % 2


@pytest.fixture(scope="module")
def network():
    """A network that no test may change."""
    return build_network()


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (5, SIZE, SIZE, 3)).astype(np.float32)


def test_images_with_the_highest_activation_are_found(images, monkeypatch):
    monkeypatch.setattr(networks, "BATCH_SIZE", 3)
    keras.utils.set_random_seed(0)
    model = build_cnn(Model(num_blocks=2, filters=6, activation="gelu", dense_units=0), SIZE, CLASSES)
    layer = model.get_layer("block2_activation")
    maps, preactivations = (keras.Model(model.inputs, x)([images]).numpy() for x in (layer.output, layer.input))
    explanations = explain_neurons(model, images, LABELS, num_neurons=7, num_images=2)
    assert len({(neuron.row, neuron.column, neuron.filter) for neuron in explanations}) == 7
    for neuron in explanations:
        assert neuron.layer == "block2_activation"
        responses = maps[:, neuron.row, neuron.column, neuron.filter]
        assert neuron.images == tuple(np.argsort(-responses)[:2])
        before = preactivations[:, neuron.row, neuron.column, neuron.filter]
        np.testing.assert_allclose(neuron.preactivations, np.sort(before)[:-3:-1], rtol=1e-5)
        assert neuron.preactivations[0] > 0
        assert neuron.gradients.shape == (2, SIZE, SIZE, 3)
        assert neuron.gradients[0].any()
        means = [responses[label == LABELS].clip(min=0).mean() for label in (0, 1)]
        assert neuron.preferred_class == np.argmax(means)
        np.testing.assert_allclose(neuron.selectivity, abs(means[0] - means[1]) / sum(means), rtol=1e-4)


def test_neurons_of_every_channel_follow_the_definition(network, images):
    explanations = explain_neurons(network, images, LABELS, num_neurons=20, num_images=1)

    def choose(maps):
        upstream = np.zeros_like(maps)
        for index, neuron in enumerate(explanations):
            upstream[index, neuron.row, neuron.column, neuron.filter] = 1
        return upstream

    top_images = images[[neuron.images[0] for neuron in explanations]]
    expected = guide(list_steps(network)[:6], top_images, choose)
    assert len(explanations) == 20
    for neuron, gradient in zip(explanations, expected, strict=True):
        largest = np.abs(gradient).max()
        np.testing.assert_allclose(neuron.gradients[0], gradient / largest, atol=1e-3)


@pytest.mark.parametrize(
    "ceiling", [lambda: layers.ReLU(6.0), lambda: layers.Activation("relu6")], ids=["ReLU", "relu6"]
)
def test_a_neuron_at_its_ceiling_is_explained(images, ceiling):
    """MobileNet's strongest neurons sit at 6, where the derivative of their activation is zero."""
    inputs = keras.Input((SIZE, SIZE, 3))
    convolve = layers.Conv2D(1, SIZE - 1, bias_initializer=keras.initializers.Constant(1e6))
    model = keras.Model(inputs, ceiling()(convolve(inputs)))
    neurons = explain_neurons(model, images, LABELS, num_images=1)
    assert len(neurons) == 4
    for neuron in neurons:
        assert neuron.preactivations > 6
        # All images reach the ceiling. The image with the highest preactivation comes first.
        rows, columns = (slice(start, start + SIZE - 1) for start in (neuron.row, neuron.column))
        sums = (images[:, rows, columns] * convolve.kernel[..., 0]).numpy().sum(axis=(1, 2, 3))
        assert neuron.images == (int(sums.argmax()),)
        expected = np.zeros((SIZE, SIZE, 3))
        expected[neuron.row :, neuron.column :][: SIZE - 1, : SIZE - 1] = convolve.kernel[..., 0]
        np.testing.assert_allclose(neuron.gradients[0], expected / np.abs(expected).max(), atol=1e-3)


def test_dead_neurons_are_not_chosen(images):
    model = build_network()
    kernel, bias = model.get_layer("c").get_weights()
    bias[:] = [-1e6, -1e6, 1e3, -1e6, -1e6]
    model.get_layer("c").set_weights([kernel, bias])
    found = explain_neurons(model, images, LABELS, num_neurons=100, num_images=1)
    assert sorted((neuron.row, neuron.column) for neuron in found) == [
        (row, col) for row in range(4) for col in range(4)
    ]
    assert {neuron.filter for neuron in found} == {2}
    bias[2] = -1e6
    model.get_layer("c").set_weights([kernel, bias])
    with pytest.raises(ValueError, match="no neuron of the last block is active on any of 5 validation images"):
        explain_neurons(model, images, LABELS)


def test_selectivity_by_hand():
    activations = np.array([[4.0, -1, 0], [2, 5, 0], [1, 1, 0], [0, 0, 0]])
    preferred, selectivity = measure_selectivity(activations, np.array([7, 7, 3, 5]))
    np.testing.assert_array_equal(preferred, [7, 7, 3])
    # Means by class (3, 5, 7): 1, 0, 3 and 1, 0, 2.5 and none.
    np.testing.assert_allclose(selectivity, [2.5 / 3.5, 2 / 3, 0])


def test_selectivity_of_a_single_class_is_an_error():
    with pytest.raises(ValueError, match="at least two classes"):
        measure_selectivity(np.ones((3, 2)), np.zeros(3, int))


def test_the_most_selective_neurons_come_first(network, images):
    labels = np.array([0, 1, 1, 0, 2])
    maps = keras.Model(network.inputs, find_spatial_activations(network)[-1].output)([images]).numpy()
    _, selectivity = measure_selectivity(maps, labels)
    selectivity[~(maps > 0).all(axis=0)] = -1
    neurons = explain_neurons(network, images, labels, 3, most_selective=True)
    assert len({neuron.filter for neuron in neurons}) == len(neurons)
    assert [neuron.selectivity for neuron in neurons] == sorted((n.selectivity for n in neurons), reverse=True)
    assert neurons[0].selectivity == pytest.approx(selectivity.max())
    assert neurons[0].preferred_class in labels


def test_neurons_are_active_for_all_images_shown(images):
    """The second filter is active for all images, each neuron of the first filter for at most one."""
    inputs = keras.Input((SIZE, SIZE, 3))
    convolve = layers.Conv2D(2, 1, kernel_initializer="zeros", activation="relu")
    model = keras.Model(inputs, convolve(inputs))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0] = [1, 1]
    convolve.set_weights([kernel, np.array([-250, 0], np.float32)])
    assert {neuron.filter for neuron in explain_neurons(model, images, LABELS, 10, num_images=4)} == {1}
