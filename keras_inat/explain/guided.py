"""Guided backpropagation: which pixels speak for a neuron or a class.

Springenberg et al. 2014, arXiv 1412.6806. On its way back through a ReLU a gradient passes only where it is positive
and the neuron is active. For other activations we take the natural extension, which for ReLU is the same:

    dx = 1[dy > 0] * 1[act(x) > 0] * act'(x) * dy

The pictures are partly those of an edge detector and nearly independent of the upper layers' weights (Adebayo et al.
2018, arXiv 1810.03292): look at them beside those of a network with random weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.model_modifiers import ModelModifier

from keras_inat.explain.filters import ACTIVATION_LAYERS, find_spatial_activations, is_activation

BATCH_SIZE = 32
CAVEAT = (
    "Guided backpropagation (Springenberg et al. 2014) is in part an edge detector: its pictures hardly depend on the "
    "weights of the upper layers (Adebayo et al. 2018, arXiv 1810.03292)."
)


@dataclass(frozen=True)
class NeuronExplanation:
    """A neuron of a convolution, the image that excites it most, and what in that image does.

    Attributes:
        layer: Name of the activation layer.
        filter: Index along the layer's channels.
        row: Of the neuron in the layer's feature map.
        column: Of the neuron in the layer's feature map.
        image: Index of the image with the largest activation, the first of equals.
        activation: Of the neuron for that image.
        gradient: `(height, width, 3)` float32, guided, of what enters the neuron's activation function, with respect
            to that image's pixels.
    """

    layer: str
    filter: int
    row: int
    column: int
    image: int
    activation: float
    gradient: np.ndarray


class GuidedBackpropagation(ModelModifier):
    """Guides every activation of a model, those of nested models included.

    tf-keras-vis's own modifier sees only top-level layers with `activation="relu"`; otherwise it silently does nothing.
    """

    def __call__(self, model: keras.Model) -> None:
        """Changes `model`, a clone, in place.

        Raises:
            ValueError: When there is no activation to guide, and the result would be the plain gradient.
        """
        num_guided = 0
        for layer in {id(layer): layer for layer in model._flatten_layers(include_self=False)}.values():
            if not is_activation(layer):
                continue
            name = "activation" if hasattr(layer, "activation") else "call"
            setattr(layer, name, _guide(getattr(layer, name)))
            num_guided += 1
        if not num_guided:
            kinds = ", ".join(sorted({type(layer).__name__ for layer in model.layers}))
            raise ValueError(
                "guided backpropagation needs non-linear activations, given as layers or as the `activation` of "
                f"layers. Received: {model.name!r}, made of {kinds}."
            )


class LinearOutput(ModelModifier):
    """Takes the activation off a model's last layer.

    Without its softmax, the score of a class does not depend on the other classes; and a neuron at the ceiling of a
    ReLU6, where its derivative is zero, still shows what brought it there. For a ReLU nothing changes.
    """

    def __call__(self, model: keras.Model) -> None:
        """Changes `model`, a clone, in place."""
        last = model
        while isinstance(last, keras.Model):
            last = last.get_layer(last.output_names[0])
        if isinstance(last, (keras.layers.Softmax, *ACTIVATION_LAYERS)):
            last.call = lambda inputs, mask=None: inputs
        elif hasattr(last, "activation"):
            last.activation = keras.activations.linear


def explain_neurons(
    model: keras.Model, images: np.ndarray, num_neurons: int = 10, seed: int = 0
) -> list[NeuronExplanation]:
    """Explains neurons of the last convolution's activation, drawn at random from those that any image excites.

    Args:
        model: A functional model with one image as its input; it stays as it is.
        images: `(images, height, width, 3)` in [0, 255].
        num_neurons: How many to draw, without replacement.
        seed: Decides which.

    Returns:
        An explanation for each neuron; fewer than `num_neurons`, or none, when fewer are alive.

    Raises:
        ValueError: When the model has no activation with rows and columns.
    """
    layer = find_spatial_activations(model)[-1]
    images = np.asarray(images, dtype=np.float32)
    # Sharing the model's layers but not its optimizer, which a clone would have to rebuild.
    cut = keras.Model(model.inputs, layer.output)
    maps = np.concatenate([np.asarray(cut([batch], training=False), dtype=np.float32) for batch in _batches(images)])
    peaks = maps.max(axis=0)
    alive = np.argwhere(peaks > 0)
    neurons = np.random.default_rng(seed).permutation(alive)[:num_neurons]
    if not len(neurons):
        return []
    exciting = [int(maps[:, row, column, index].argmax()) for row, column, index in neurons]
    saliency = Saliency(cut, [GuidedBackpropagation(), LinearOutput()])

    def score(part: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda outputs: tf.gather_nd(outputs, part, batch_dims=1)

    gradients = np.concatenate(
        [
            _compute_gradients(saliency, score(part), batch)
            for part, batch in zip(_batches(neurons), _batches(images[exciting]), strict=True)
        ]
    )
    return [
        NeuronExplanation(layer.name, index, row, column, image, float(peaks[row, column, index]), gradient)
        for (row, column, index), image, gradient in zip(neurons.tolist(), exciting, gradients, strict=True)
    ]


def explain_predictions(model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Explains the scores (logits) of classes.

    Args:
        model: A functional classifier with one image as its input; it stays as it is.
        images: `(images, height, width, 3)` in [0, 255].
        classes: `(images,)` int, one class for each image; None: the predicted ones.

    Returns:
        `(images, height, width, 3)` float32, guided gradients of the scores with respect to the pixels.
    """
    images = np.asarray(images, dtype=np.float32)
    # See `explain_neurons`.
    uncompiled = keras.Model(model.inputs, model.outputs)
    saliency = Saliency(uncompiled, [GuidedBackpropagation(), LinearOutput()])

    def score(part: np.ndarray | None) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda logits: tf.gather(logits, tf.argmax(logits, axis=-1) if part is None else part, batch_dims=1)

    parts = [None for _ in _batches(images)] if classes is None else _batches(np.asarray(classes))
    return np.concatenate(
        [_compute_gradients(saliency, score(part), batch) for part, batch in zip(parts, _batches(images), strict=True)]
    )


def _guide(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, its gradient guided: its own derivative, applied to what `_gate` lets through."""
    return lambda *args, **kwargs: _gate(function(*args, **kwargs))


@tf.custom_gradient
def _gate(outputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    def grad(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * tf.cast((upstream > 0) & (outputs > 0), upstream.dtype)

    return tf.identity(outputs), grad


def _compute_gradients(saliency: Saliency, score: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray) -> np.ndarray:
    return np.asarray(saliency(score, images, keepdims=True, normalize_map=False, gradient_modifier=None))


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    """Parts small enough for the memory of a GPU."""
    return [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
