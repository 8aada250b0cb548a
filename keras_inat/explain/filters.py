"""What a network's first filters look like, and what its convolutions make of one image."""

import re
from typing import Any

import keras
import numpy as np
from scipy.cluster import hierarchy

from keras_inat.explain.activations import find_spatial_activations, run_batches

MAX_STAGES = 5


def read_first_filters(model: keras.Model) -> np.ndarray:
    """Reads the kernels of the first convolution that sees colours.

    Args:
        model: Any built model; nested ones are searched too.

    Returns:
        `(filters, height, width, 3)` float32, the last axis in the order red, green, blue.

    Raises:
        ValueError: When no convolution has three input channels.
    """
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] == 3:
            filters = np.asarray(layer.kernel, dtype=np.float32).transpose(3, 0, 1, 2)
            # ResNet50 and VGG16 read blue first, so their models begin with a flip of the channels.
            flipped = any(type(operation).__name__ == "Flip" for operation in model.operations)
            return filters[..., ::-1] if flipped else filters
    raise ValueError(f"the model {model.name!r} has no convolution with 3 input channels: there are no filters to show")


def order_filters(filters: np.ndarray, order: str = "index") -> np.ndarray:
    """Puts filters in order.

    Args:
        filters: `(filters, height, width, 3)` float.
        order: `index`; `strength`, the largest norm first; or `similarity`, neighbours being alike: the leaves of a
            tree that joins those with the highest correlation first, turned so that neighbouring leaves are closest
            (Bar-Joseph et al. 2001).

    Returns:
        `(filters,)` int64, indices into `filters`.
    """
    rows = filters.reshape(len(filters), -1).astype(np.float64)
    if order == "strength":
        return np.argsort(-np.linalg.norm(rows, axis=1), kind="stable")
    if order == "similarity" and len(rows) > 2:
        unit = rows - rows.mean(axis=1, keepdims=True)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        return hierarchy.leaves_list(hierarchy.linkage(unit, "average", optimal_ordering=True)).astype(np.int64)
    return np.arange(len(rows))


def sort_filters(filters: np.ndarray) -> dict[str, int]:
    """Counts what filters answer to, by where the largest part of their squared weights lies.

    The squares of a filter's weights are the sum of four: those of its mean over positions and colours, of what its
    colours differ by at all positions alike, of what its positions differ by in all colours alike, and of the rest.

    Args:
        filters: `(filters, height, width, 3)` float.

    Returns:
        How many filters answer to each thing, the most frequent first; one without weights to none.
    """
    size = filters.shape[1] * filters.shape[2]
    by_color, by_place = filters.mean(axis=(1, 2)), filters.mean(axis=3)
    mean = by_color.mean(axis=1)
    parts = {
        "brightness": 3 * size * mean**2,
        "a colour": size * ((by_color - mean[:, None]) ** 2).sum(axis=1),
        "edges of light and dark": 3 * ((by_place - mean[:, None, None]) ** 2).sum(axis=(1, 2)),
    }
    parts["edges between colours"] = (filters**2).sum(axis=(1, 2, 3)) - sum(parts.values())
    table = np.stack(list(parts.values()), axis=1)
    largest = table[table.max(axis=1) > 0].argmax(axis=1)
    counts = {name: int((largest == number).sum()) for number, name in enumerate(parts)}
    return {name: count for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count}


def find_stages(model: keras.Model) -> list[Any]:
    """The layers to look at, first to last: the activation that ends each block of our CNN, or of other networks the
    last one at each of the last five resolutions.

    Raises:
        ValueError: When there is no activation with rows and columns.
    """
    activations = find_spatial_activations(model)
    # The last of each block; of several networks side by side, the first one's.
    blocks = {
        match[1]: layer for layer in activations if (match := re.fullmatch(r"block(\d+)_activation\d*", layer.name))
    }
    # A dictionary keeps the last layer of each resolution.
    resolutions = {layer.output.shape[1:3]: layer for layer in activations}
    return list(blocks.values()) or list(resolutions.values())[-MAX_STAGES:]


def compute_feature_maps(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """Computes what the stages of a network, as `find_stages` gives them, put out for one image.

    Args:
        model: A functional model with one image as its input.
        image: `(height, width, 3)` in [0, 255].

    Returns:
        `(rows, columns, filters)` float32 by layer name, first to last.

    Raises:
        ValueError: When there is no activation with rows and columns.
    """
    chosen = find_stages(model)
    (outputs,) = run_batches(keras.Model(model.inputs, [layer.output for layer in chosen]), image[None])
    return {layer.name: output[0] for layer, output in zip(chosen, outputs, strict=True)}
