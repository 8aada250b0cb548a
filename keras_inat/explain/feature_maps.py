"""Feature maps: the activations at the end of each stage of a network."""

import re
from typing import Any

import keras
import numpy as np

from keras_inat.explain.activations import find_spatial_activations
from keras_inat.explain.batches import run_batches

MAX_STAGES = 5


def find_stages(model: keras.Model) -> list[Any]:
    """Returns the last activation layer of each stage of a network, first to last.

    The stages of our CNN are its blocks; of an ensemble, those of its first network. The stages of other networks are
    the last five resolutions.

    Raises:
        ValueError: If there is no activation with rows and columns.
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
    """Computes the feature maps of one image at the stages that `find_stages` returns.

    Args:
        model: A functional model with one image as its input.
        image: `(height, width, 3)` in [0, 255].

    Returns:
        `(rows, columns, filters)` float32 by layer name, first to last.

    Raises:
        ValueError: If there is no activation with rows and columns.
    """
    stages = find_stages(model)
    (outputs,) = run_batches(keras.Model(model.inputs, [layer.output for layer in stages]), image[None])
    return {layer.name: output[0] for layer, output in zip(stages, outputs, strict=True)}
