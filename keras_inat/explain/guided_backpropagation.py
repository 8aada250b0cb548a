"""Guided backpropagation of class scores and of neurons: gradients at the pixels, restricted to positive evidence.

Springenberg et al. 2014, arXiv 1412.6806. On its way back through a ReLU, a gradient passes only if it is positive and
the neuron is active. We use the natural extension to other activations, which is identical for ReLU:

    dx = 1[dy > 0] * 1[act(x) > 0] * act'(x) * dy

The result resembles that of an edge detector and hardly depends on the weights of the upper layers (Adebayo et al.
2018, arXiv 1810.03292). Compare it with that of the same network with randomized weights. A model is functional, with
one image `(height, width, 3)` in [0, 255] as its input. It is unchanged.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.saliency import Saliency

from keras_inat.explain import networks
from keras_inat.store.explanations import NeuronExplanation

MIN_ACTIVE = 10


def explain_predictions(model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Computes the guided gradients of class scores (logits), `(images, height, width, 3)` float32.

    `classes` are `(images,)` int, or None for the predicted ones.
    """
    model = networks.strip_model(model)
    if classes is None:
        # The highest mean logit of an ensemble may belong to another class than the highest mean probability.
        classes = networks.map_batches(lambda batch: model([batch], training=False), images).argmax(axis=-1)
    return _explain_outputs(model, images, classes[:, None])


def explain_neurons(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    num_neurons: int = 10,
    num_images: int = 5,
    most_selective: bool = False,
) -> list[NeuronExplanation]:
    """Explains neurons of the last convolution's activation by their top activating images. Fewer may be active.

    It is a ValueError if none is active.

    Args:
        model: A network with convolutions.
        images: `(images, height, width, 3)`.
        labels: `(images,)` int, of at least two classes.
        num_neurons: Number of neurons, drawn at random from those that are active for at least `num_images` images, or
            for as many as the most active neuron.
        num_images: Number of images per neuron.
        most_selective: Choose the neurons with the highest selectivity that are active for at least ten images, one
            per filter, instead of random ones.
    """
    layer = networks.find_spatial_activations(model)[-1]
    both = keras.Model(model.inputs, [layer.output, networks.find_preactivation(layer)])
    run = tf.function(lambda batch: both([batch], training=False), reduce_retracing=True)
    maps, preactivations = networks.map_batches(run, images)
    preferred, selectivity = measure_selectivity(maps, labels)
    counts = (maps > 0).sum(axis=0)
    if most_selective:
        active = np.argwhere(counts >= min(MIN_ACTIVE, len(maps)))
        ranking = active[np.argsort(-selectivity[*active.T], kind="stable")]
        _, best = np.unique(ranking[:, 2], return_index=True)  # the first neuron of each filter
        neurons = ranking[np.sort(best)][:num_neurons]
    else:
        active = np.argwhere(counts >= min(num_images, counts.max(initial=1)))
        neurons = np.random.default_rng(0).permutation(active)[:num_neurons]
    if not len(neurons):
        raise ValueError(f"no neuron of the last block is active on any of {len(images):,} validation images")
    top = np.argsort(-preactivations[:, *neurons.T], axis=0, kind="stable")[:num_images].T
    head = keras.Model(model.inputs, layer.output)
    gradients = _explain_outputs(head, images[top.ravel()], np.repeat(neurons, top.shape[1], axis=0))
    gradients = gradients.reshape(*top.shape, *images.shape[1:])
    explanations = []
    for (row, column, channel), rows, gradient in zip(neurons.tolist(), top, gradients, strict=True):
        explanations.append(
            NeuronExplanation(
                layer=layer.name,
                filter=channel,
                row=row,
                column=column,
                images=tuple(rows.tolist()),
                preactivations=preactivations[rows, row, column, channel],
                gradients=normalize_gradients(gradient),
                preferred_class=int(preferred[row, column, channel]),
                selectivity=float(selectivity[row, column, channel]),
            )
        )
    return explanations


def normalize_gradients(gradients: np.ndarray) -> np.ndarray:
    """Divides the gradients of each image by their largest absolute value. Returns float16, for figures."""
    axes = tuple(range(1, gradients.ndim))
    largest = np.abs(gradients).max(axis=axes, keepdims=True)
    return (gradients / np.where(largest > 0, largest, 1)).astype(np.float16)


def measure_selectivity(activations: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the preferred class and the class selectivity index of neurons: Morcos et al. 2018, arXiv 1803.06959.

    The index is `(a - b) / (a + b)`. Here `a` is the mean activation over the images of the preferred class, the class
    with the highest mean, and `b` is the mean of the other classes' means. Negative activations count as zero.
    `activations` are `(images, ...)` float, of any number of neurons, and `labels` `(images,)` int.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"class selectivity needs images of at least two classes. Received: only class {classes}.")
    means = np.stack([np.maximum(activations[labels == label], 0).mean(axis=0) for label in classes])
    largest = means.max(axis=0)
    others = (means.sum(axis=0) - largest) / (len(classes) - 1)
    return classes[means.argmax(axis=0)], (largest - others) / np.maximum(largest + others, 1e-12)


def _explain_outputs(model: keras.Model, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Computes the guided gradients of the output values at `indices` `(images, axes)`, before the last activation."""
    # The modifiers of tf-keras-vis find only top-level layers with an `activation`. Otherwise they silently do nothing.
    saliency = Saliency(model, [_guide_activations, networks.remove_last_activation])

    def differentiate(batch: tf.Tensor, positions: tf.Tensor) -> Any:
        score = partial(tf.gather_nd, indices=positions, batch_dims=1)
        return saliency(score, batch, keepdims=True, normalize_map=False, gradient_modifier=None)

    return networks.map_batches(differentiate, images, indices)


def _guide_activations(model: keras.Model) -> None:
    activations = networks.find_activations(model)
    for layer in activations:
        name = "activation" if hasattr(layer, "activation") else "call"
        setattr(layer, name, _guide(getattr(layer, name)))
    if not activations:  # the result would be the plain gradient
        kinds = ", ".join(sorted({type(layer).__name__ for layer in model.layers}))
        raise ValueError(
            "guided backpropagation needs non-linear activations, given as layers or as the `activation` of "
            f"layers. Received: {model.name!r}, made of {kinds}."
        )


def _guide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function with a guided gradient: its own derivative, applied to the gradient behind `_gate`."""
    return lambda *args, **kwargs: _gate(function(*args, **kwargs))


@tf.custom_gradient
def _gate(outputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    return tf.identity(outputs), lambda upstream: upstream * tf.cast((upstream > 0) & (outputs > 0), upstream.dtype)
