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

from keras_inat.explain.activations import (
    find_activations,
    find_input,
    find_spatial_activations,
    run_batches,
    split_batches,
    strip_model,
    take_off_softmax,
)

MIN_ACTIVE = 10
CAVEAT = (
    "Guided backpropagation (Springenberg et al. 2014) is in part an edge detector: its pictures hardly depend on the "
    "weights of the upper layers (Adebayo et al. 2018, arXiv 1810.03292)."
)


@dataclass(frozen=True)
class NeuronExplanation:
    """A neuron of a convolution, the images that excite it most, and what in them does.

    Attributes:
        layer: Name of the activation layer.
        filter: Index along the layer's channels.
        row: Of the neuron in the layer's feature map.
        column: Of the neuron in the layer's feature map.
        images: Indices of the images with the largest activations, largest first; of those at a ceiling the ones that
            would be without it.
        activations: `(images,)` float32, of the neuron for them.
        gradients: `(images, height, width, 3)` float32, guided, of what enters the neuron's activation function, with
            respect to the pixels.
        preferred: The class that excites it most on average, where labels were given.
        selectivity: How much more than the others do, from 0 to 1; see `measure_selectivity`.
    """

    layer: str
    filter: int
    row: int
    column: int
    images: tuple[int, ...]
    activations: np.ndarray
    gradients: np.ndarray
    preferred: int | None = None
    selectivity: float = 0.0


class GuidedBackpropagation(ModelModifier):
    """Guides every activation of a model, those of nested models included.

    tf-keras-vis's own modifier sees only top-level layers with `activation="relu"`; otherwise it silently does nothing.
    """

    def __call__(self, model: keras.Model) -> None:
        """Changes `model`, a clone, in place.

        Raises:
            ValueError: When there is no activation to guide, and the result would be the plain gradient.
        """
        activations = find_activations(model)
        for layer in activations:
            name = "activation" if hasattr(layer, "activation") else "call"
            setattr(layer, name, _guide(getattr(layer, name)))
        if not activations:
            kinds = ", ".join(sorted({type(layer).__name__ for layer in model.layers}))
            raise ValueError(
                "guided backpropagation needs non-linear activations, given as layers or as the `activation` of "
                f"layers. Received: {model.name!r}, made of {kinds}."
            )


class LinearOutput(ModelModifier):
    """Takes off what activation a model ends in; tf-keras-vis's own does nothing where that is a layer of its own."""

    def __call__(self, model: keras.Model) -> None:
        """Changes `model`, a clone, in place."""
        take_off_softmax(model)


def explain_neurons(
    model: keras.Model,
    images: np.ndarray,
    num_neurons: int = 10,
    num_images: int = 1,
    seed: int = 0,
    labels: np.ndarray | None = None,
    most_selective: bool = False,
) -> list[NeuronExplanation]:
    """Explains neurons of the last convolution's activation.

    Args:
        model: A functional model with one image as its input; it stays as it is.
        images: `(images, height, width, 3)` in [0, 255].
        num_neurons: How many, without replacement.
        num_images: How many images to show for each.
        seed: Decides which neurons, of those that as many images excite, or as many as any neuron has.
        labels: `(images,)` int, the classes of the images, where it is to be said which one a neuron prefers.
        most_selective: Take the neurons that `labels` show to be the most selective, one a filter, of those that at
            least ten images excite; nothing is left to chance then.

    Returns:
        An explanation for each neuron; fewer than `num_neurons`, or none, when fewer are alive.

    Raises:
        ValueError: When the model has no activation with rows and columns.
    """
    layer = find_spatial_activations(model)[-1]
    images = np.asarray(images, dtype=np.float32)
    # Sharing the model's layers but not its optimizer, which a clone would have to rebuild.
    cut = keras.Model(model.inputs, layer.output)
    batches = run_batches(keras.Model(model.inputs, [layer.output, find_input(layer)]), images)
    maps, before = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    number = (maps > 0).sum(axis=0)
    alive = np.argwhere(number >= min(num_images, number.max(initial=1)))
    preferred, selectivity = (None, None) if labels is None else measure_selectivity(maps, labels)
    if most_selective and selectivity is not None:
        enough = number >= min(MIN_ACTIVE, len(images))
        ranked = np.argsort(-np.where(enough, selectivity, -1), axis=None, kind="stable")
        ranking = np.stack(np.unravel_index(ranked, maps.shape[1:]), axis=1)[: enough.sum()]
        _, first = np.unique(ranking[:, 2], return_index=True)
        neurons = ranking[np.sort(first)][:num_neurons]
    else:
        neurons = np.random.default_rng(seed).permutation(alive)[:num_neurons]
    if not len(neurons):
        return []
    places = neurons[:, 0], neurons[:, 1], neurons[:, 2]
    responses = maps[:, *places].T
    exciting = np.argsort(-before[:, *places].T, axis=1, kind="stable")[:, :num_images]
    saliency = Saliency(cut, [GuidedBackpropagation(), LinearOutput()])

    def score(part: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda outputs: tf.gather_nd(outputs, part, batch_dims=1)

    pairs = split_batches(images[exciting.ravel()], np.repeat(neurons, exciting.shape[1], axis=0))
    gradients = [_compute_gradients(saliency, score(part), batch) for batch, part in pairs]
    return [
        NeuronExplanation(
            layer.name,
            index,
            row,
            column,
            tuple(chosen.tolist()),
            response[chosen],
            gradient,
            None if preferred is None else int(preferred[row, column, index]),
            0.0 if selectivity is None else float(selectivity[row, column, index]),
        )
        for (row, column, index), chosen, response, gradient in zip(
            neurons.tolist(),
            exciting,
            responses,
            np.concatenate(gradients).reshape(*exciting.shape, *images.shape[1:]),
            strict=True,
        )
    ]


def measure_selectivity(activations: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which class excites each neuron most, and how much more than the others: Morcos et al. 2018, arXiv 1803.06959.

    `(a - b) / (a + b)`, `a` being the mean activation over the images of that class, `b` that over the means of the
    other classes; what is below zero counts as zero.

    Args:
        activations: `(images, ...)` float, of any number of neurons.
        labels: `(images,)` int.

    Returns:
        `(...)` int64 and `(...)` float in [0, 1].

    Raises:
        ValueError: When all images are of one class.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError("what a neuron prefers takes images of at least two classes")
    means = np.stack([np.maximum(activations[labels == label], 0).mean(axis=0) for label in classes])
    best = means.argmax(axis=0)
    largest = np.take_along_axis(means, best[None], axis=0)[0]
    others = (means.sum(axis=0) - largest) / (len(classes) - 1)
    return classes[best], (largest - others) / np.maximum(largest + others, 1e-12)


def explain_predictions(model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Explains the scores (logits) of classes.

    Args:
        model: A functional classifier with one image as its input; it stays as it is.
        images: `(images, height, width, 3)` in [0, 255].
        classes: `(images,)` int, one class for each image; None: the predicted ones, of the model's own output.

    Returns:
        `(images, height, width, 3)` float32, guided gradients of the scores with respect to the pixels.
    """
    images = np.asarray(images, dtype=np.float32)
    bare = strip_model(model)
    if classes is None:
        # Not of the scores: of several networks the mean score and the mean probability may prefer different classes.
        classes = np.concatenate([outputs.argmax(axis=-1) for (outputs,) in run_batches(bare, images)])
    saliency = Saliency(bare, [GuidedBackpropagation(), LinearOutput()])

    def score(part: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda logits: tf.gather(logits, part, batch_dims=1)

    batches = split_batches(images, np.asarray(classes))
    return np.concatenate([_compute_gradients(saliency, score(part), batch) for batch, part in batches])


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
