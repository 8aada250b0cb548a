"""Neurons of the last convolution: their top activating images, guided gradients and class selectivity."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_inat.explain.activations import find_preactivation, find_spatial_activations
from keras_inat.explain.batches import run_batches
from keras_inat.explain.guided_backpropagation import explain_outputs

MIN_ACTIVE = 10


@dataclass(frozen=True)
class NeuronExplanation:
    """A neuron of a convolution with its top activating images and their guided gradients.

    Attributes:
        layer: Name of the activation layer.
        filter: Index along the layer's channels.
        row: Position in the layer's feature map.
        column: Position in the layer's feature map.
        images: Indices of the images with the largest preactivations, largest first. Activations alone would not rank
            images that reach the ceiling of the activation function.
        activations: `(images,)` float32, the neuron's activation for them.
        gradients: `(images, height, width, 3)` float32, guided gradients of the preactivation with respect to the
            pixels.
        preferred_class: Class with the highest mean activation, if labels were given.
        selectivity: Its class selectivity index in [0, 1], see `measure_selectivity`.
    """

    layer: str
    filter: int
    row: int
    column: int
    images: tuple[int, ...]
    activations: np.ndarray
    gradients: np.ndarray
    preferred_class: int | None = None
    selectivity: float = 0.0


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
        model: A functional model with one image as its input. It is unchanged.
        images: `(images, height, width, 3)` in [0, 255].
        num_neurons: Number of different neurons.
        num_images: Number of top activating images per neuron.
        seed: Determines the random neurons. They are drawn from those that are active for at least `num_images`
            images, or for as many as the most active neuron.
        labels: `(images,)` int, classes of the images, to compute the preferred class and the selectivity.
        most_selective: Choose the neurons with the highest selectivity that are active for at least ten images, one
            per filter, instead of random ones. Needs `labels`.

    Returns:
        One explanation per neuron. The list is shorter than `num_neurons` if fewer neurons are active, and may be
        empty.

    Raises:
        ValueError: If the model has no activation with rows and columns.
    """
    layer = find_spatial_activations(model)[-1]
    images = np.asarray(images, dtype=np.float32)
    maps, preactivations = _compute_maps(model, layer, images)
    preferred, selectivity = (None, None) if labels is None else measure_selectivity(maps, labels)
    if most_selective and selectivity is not None:
        neurons = _rank_by_selectivity(maps, selectivity)[:num_neurons]
    else:
        neurons = np.random.default_rng(seed).permutation(_find_active(maps, num_images))[:num_neurons]
    if not len(neurons):
        return []
    chosen = preactivations[:, neurons[:, 0], neurons[:, 1], neurons[:, 2]]
    top = np.argsort(-chosen.T, axis=1, kind="stable")[:, :num_images]
    # This model shares the layers of `model` but not its optimizer, which a clone would have to rebuild.
    head = keras.Model(model.inputs, layer.output)
    gradients = explain_outputs(head, images[top.ravel()], np.repeat(neurons, top.shape[1], axis=0))
    gradients = gradients.reshape(*top.shape, *images.shape[1:])
    explanations = []
    for (row, column, index), rows, gradient in zip(neurons.tolist(), top, gradients, strict=True):
        explanations.append(
            NeuronExplanation(
                layer=layer.name,
                filter=index,
                row=row,
                column=column,
                images=tuple(rows.tolist()),
                activations=maps[rows, row, column, index],
                gradients=gradient,
                preferred_class=None if preferred is None else int(preferred[row, column, index]),
                selectivity=0.0 if selectivity is None else float(selectivity[row, column, index]),
            )
        )
    return explanations


def measure_selectivity(activations: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the preferred class and the class selectivity index of neurons: Morcos et al. 2018, arXiv 1803.06959.

    The index is `(a - b) / (a + b)`. Here `a` is the mean activation over the images of the preferred class, the class
    with the highest mean, and `b` is the mean of the other classes' means. Negative activations count as zero.

    Args:
        activations: `(images, ...)` float, of any number of neurons.
        labels: `(images,)` int.

    Returns:
        The preferred classes, `(...)` int64, and the indices, `(...)` float in [0, 1].

    Raises:
        ValueError: If all images have the same class.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"class selectivity needs images of at least two classes. Received: only class {classes}.")
    means = np.stack([np.maximum(activations[labels == label], 0).mean(axis=0) for label in classes])
    best = means.argmax(axis=0)
    largest = np.take_along_axis(means, best[None], axis=0)[0]
    others = (means.sum(axis=0) - largest) / (len(classes) - 1)
    return classes[best], (largest - others) / np.maximum(largest + others, 1e-12)


def _compute_maps(model: keras.Model, layer: keras.layers.Layer, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the activations and preactivations of a layer, `(images, rows, columns, filters)` float32 each."""
    outputs = run_batches(keras.Model(model.inputs, [layer.output, find_preactivation(layer)]), images)
    activations, preactivations = zip(*outputs, strict=True)
    return np.concatenate(activations), np.concatenate(preactivations)


def _find_active(maps: np.ndarray, num_images: int) -> np.ndarray:
    """Returns the positions `(neurons, 3)` of the neurons that are active for `num_images` images.

    If no neuron is active for that many, the limit is the highest number that any neuron reaches.
    """
    counts = (maps > 0).sum(axis=0)
    return np.argwhere(counts >= min(num_images, counts.max(initial=1)))


def _rank_by_selectivity(maps: np.ndarray, selectivity: np.ndarray) -> np.ndarray:
    """Returns the positions `(filters, 3)` of the most selective neuron of each filter, the most selective first."""
    active = (maps > 0).sum(axis=0) >= min(MIN_ACTIVE, len(maps))
    order = np.argsort(-np.where(active, selectivity, -1), axis=None, kind="stable")[: active.sum()]
    ranking = np.stack(np.unravel_index(order, selectivity.shape), axis=1)
    _, first = np.unique(ranking[:, 2], return_index=True)
    return ranking[np.sort(first)]
