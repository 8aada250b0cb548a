"""Guided backpropagation: gradients with respect to the pixels, restricted to positive evidence.

Springenberg et al. 2014, arXiv 1412.6806. On its way back through a ReLU, a gradient passes only if it is positive and
the neuron is active. We use the natural extension to other activations, which is identical for ReLU:

    dx = 1[dy > 0] * 1[act(x) > 0] * act'(x) * dy

The result resembles that of an edge detector and hardly depends on the weights of the upper layers (Adebayo et al.
2018, arXiv 1810.03292). Compare it with that of the same network with randomized weights.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.model_modifiers import ModelModifier

from keras_inat.explain.activations import find_activations
from keras_inat.explain.batches import run_batches, split_batches
from keras_inat.explain.logits import remove_last_activation, strip_model

CAVEAT = (
    "Guided backpropagation (Springenberg et al. 2014) is in part an edge detector: its maps hardly depend on the "
    "weights of the upper layers (Adebayo et al. 2018, arXiv 1810.03292)."
)


class GuidedBackpropagation(ModelModifier):
    """Guides every activation of a model, including those of nested models.

    The modifier of tf-keras-vis finds only top-level layers with `activation="relu"`; otherwise it silently does
    nothing.
    """

    def __call__(self, model: keras.Model) -> None:
        """Changes `model`, a clone, in place.

        Raises:
            ValueError: If there is no activation to guide, so that the result would be the plain gradient.
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
    """Removes the last activation of a model. The modifier of tf-keras-vis ignores activations that are layers."""

    def __call__(self, model: keras.Model) -> None:
        """Changes `model`, a clone, in place."""
        remove_last_activation(model)


def explain_predictions(model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Computes the guided gradients of class scores (logits).

    Args:
        model: A functional classifier with one image as its input. It is unchanged.
        images: `(images, height, width, 3)` in [0, 255].
        classes: `(images,)` int, one class per image. None: the predicted classes.

    Returns:
        `(images, height, width, 3)` float32, with respect to the pixels.
    """
    images = np.asarray(images, dtype=np.float32)
    model = strip_model(model)
    if classes is None:
        # The highest mean logit of an ensemble may belong to another class than the highest mean probability.
        classes = np.concatenate([outputs.argmax(axis=-1) for (outputs,) in run_batches(model, images)])
    return explain_outputs(model, images, np.asarray(classes)[:, None])


def explain_outputs(model: keras.Model, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Computes the guided gradient of one output value per image, before the last activation.

    Args:
        model: A functional model from `[images]` to one output. It is unchanged.
        images: `(images, height, width, 3)` float32 in [0, 255].
        indices: `(images, axes)` int, position of the value along the output's axes after the batch axis.

    Returns:
        `(images, height, width, 3)` float32, with respect to the pixels.
    """
    saliency = Saliency(model, [GuidedBackpropagation(), LinearOutput()])
    gradients = []
    for batch, positions in split_batches(images, indices):
        gradient = saliency(_select(positions), batch, keepdims=True, normalize_map=False, gradient_modifier=None)
        gradients.append(np.asarray(gradient))
    return np.concatenate(gradients)


def _select(positions: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda outputs: tf.gather_nd(outputs, positions, batch_dims=1)


def _guide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function with a guided gradient: its own derivative, applied to the gradient behind `_gate`."""
    return lambda *args, **kwargs: _gate(function(*args, **kwargs))


@tf.custom_gradient
def _gate(outputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    def grad(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * tf.cast((upstream > 0) & (outputs > 0), upstream.dtype)

    return tf.identity(outputs), grad
