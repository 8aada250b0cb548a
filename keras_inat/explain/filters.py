"""Filters: the weights of the first layer, and the feature maps at the end of each stage of a network."""

import re
from typing import Any

import keras
import numpy as np
from scipy.cluster import hierarchy

from keras_inat.explain.activations import find_spatial_activations
from keras_inat.explain.batches import run_batches

MAX_STAGES = 5


def read_first_layer_filters(model: keras.Model) -> np.ndarray:
    """Returns the kernels of the first convolution with color input. Nested models are searched too.

    Returns:
        `(filters, height, width, 3)` float32, channels in the order red, green, blue.

    Raises:
        ValueError: If no convolution has three input channels.
    """
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] == 3:
            filters = np.asarray(layer.kernel, dtype=np.float32).transpose(3, 0, 1, 2)
            # ResNet50 and VGG16 expect blue first, so their models begin with a flip of the channels.
            flipped = any(type(operation).__name__ == "Flip" for operation in model.operations)
            return filters[..., ::-1] if flipped else filters
    raise ValueError(f"the model {model.name!r} has no convolution with 3 input channels, so it has no filters to show")


def order_filters(filters: np.ndarray, order: str = "index") -> np.ndarray:
    """Returns the order of filters in a chart, as indices.

    Args:
        filters: `(filters, height, width, 3)` float.
        order: `index`: the order in the layer. `strength`: the largest norm first. `similarity`: similar filters next
            to each other, by average-linkage clustering of their correlations with optimal leaf ordering (Bar-Joseph
            et al. 2001).
    """
    rows = filters.reshape(len(filters), -1).astype(np.float64)
    if order == "strength":
        return np.argsort(-np.linalg.norm(rows, axis=1), kind="stable")
    if order == "similarity" and len(rows) > 2:
        unit = rows - rows.mean(axis=1, keepdims=True)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        return hierarchy.leaves_list(hierarchy.linkage(unit, "average", optimal_ordering=True)).astype(np.int64)
    return np.arange(len(rows))


def count_filter_types(filters: np.ndarray) -> dict[str, int]:
    """Counts filters `(filters, height, width, 3)` by the type of pattern that holds most of their energy.

    The energy of a filter, its squared weights, is the sum of four components: brightness (its mean over positions and
    channels), color (differences of channels, the same at all positions), luminance edges (differences of positions,
    the same in all channels) and color edges (the rest). Filters without weights are not counted. The most frequent
    type comes first.
    """
    size = filters.shape[1] * filters.shape[2]
    by_channel = filters.mean(axis=(1, 2))
    by_position = filters.mean(axis=3)
    mean = by_channel.mean(axis=1)
    energies = {
        "brightness": 3 * size * mean**2,
        "color": size * ((by_channel - mean[:, None]) ** 2).sum(axis=1),
        "luminance edges": 3 * ((by_position - mean[:, None, None]) ** 2).sum(axis=(1, 2)),
    }
    energies["color edges"] = (filters**2).sum(axis=(1, 2, 3)) - sum(energies.values())
    table = np.stack(list(energies.values()), axis=1)
    largest = table[table.max(axis=1) > 0].argmax(axis=1)
    counts = {name: int((largest == number).sum()) for number, name in enumerate(energies)}
    return {name: count for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count}


def find_stages(model: keras.Model) -> list[Any]:
    """Returns the last activation layer of each stage of a network, first to last.

    The stages of our CNN are its blocks; of an ensemble, those of its first network. The stages of other networks are
    the last five resolutions.
    """
    blocks = {}
    resolutions = {}
    for layer in find_spatial_activations(model):
        # Later layers of the same block or resolution replace earlier ones.
        resolutions[layer.output.shape[1:3]] = layer
        if block := re.fullmatch(r"block(\d+)_activation\d*", layer.name):
            blocks[block[1]] = layer
    return list(blocks.values()) or list(resolutions.values())[-MAX_STAGES:]


def compute_feature_maps(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the feature maps of one image `(height, width, 3)` in [0, 255] at the stages of a network.

    Returns:
        `(rows, columns, filters)` float32 by layer name, first to last.
    """
    stages = find_stages(model)
    (outputs,) = run_batches(keras.Model(model.inputs, [layer.output for layer in stages]), image[None])
    return {layer.name: output[0] for layer, output in zip(stages, outputs, strict=True)}
