"""Filters of all stages: their top activating image patches and synthetic images from activation maximization."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_inat.explain.activation_maximization import maximize_filters
from keras_inat.explain.activations import find_preactivation
from keras_inat.explain.batches import run_batches
from keras_inat.explain.feature_maps import find_stages
from keras_inat.explain.receptive_fields import measure_receptive_fields


@dataclass(frozen=True)
class FilterExplanation:
    """A filter with its synthetic image and its top activating patches.

    Attributes:
        layer: Name of the layer.
        filter: Index along the layer's channels.
        receptive_field: Side in pixels of the receptive field, and of the pictures.
        synthetic: `(side, side, 3)` float32 in [0, 255], the result of activation maximization.
        patches: `(patches, side, side, 3)` in [0, 255], each of a different image, the highest activation first.
        images: Index of the image of each patch.
        activations: `(patches,)` float32.
    """

    layer: str
    filter: int
    receptive_field: int
    synthetic: np.ndarray
    patches: np.ndarray
    images: tuple[int, ...]
    activations: np.ndarray


@dataclass(frozen=True)
class Peaks:
    """The peaks of a layer's feature maps, each array `(images, filters)`.

    Attributes:
        preactivations: The highest preactivation of each feature map.
        activations: The activation at the same position.
        positions: The position: row times number of columns plus column.
    """

    preactivations: np.ndarray
    activations: np.ndarray
    positions: np.ndarray


def explain_filters(
    model: keras.Model, images: np.ndarray, num_filters: int = 2, num_patches: int = 6, seed: int = 0
) -> list[FilterExplanation]:
    """Explains random filters of every stage that are active on at least one image.

    Args:
        model: A functional model with one image as its input. It is unchanged.
        images: `(images, height, width, 3)` in [0, 255].
        num_filters: Number of filters per stage, see `find_stages`.
        num_patches: Number of patches per filter.
        seed: Determines the filters and the noise that activation maximization begins with.

    Returns:
        The explanations stage by stage. There are fewer if fewer filters are active.

    Raises:
        ValueError: If there is no activation with rows and columns.
    """
    stages = find_stages(model)
    peaks = _find_peaks(model, stages, images)
    filters = _draw_active(peaks, num_filters, seed)
    if not filters:
        return []
    scales = np.array([float(peaks[stage].activations[:, channel].max()) for stage, channel in filters])
    fields = measure_receptive_fields(keras.Model(model.inputs, [layer.output for layer in stages]))
    synthetic = maximize_filters(model, stages, filters, scales, images.shape[1:], seed)
    explanations = []
    for (stage, channel), picture in zip(filters, synthetic, strict=True):
        layer = stages[stage]
        best = np.argsort(-peaks[stage].preactivations[:, channel], kind="stable")[:num_patches]
        patches = []
        for index in best:
            center = _locate(peaks[stage].positions[index, channel], layer.output.shape[1:3])
            patches.append(_cut_patch(images[index], center, fields[stage]))
        explanations.append(
            FilterExplanation(
                layer=layer.name,
                filter=channel,
                receptive_field=fields[stage],
                synthetic=_cut_patch(picture, (0.5, 0.5), fields[stage]),
                patches=np.stack(patches),
                images=tuple(best.tolist()),
                activations=peaks[stage].activations[best, channel],
            )
        )
    return explanations


def _find_peaks(model: keras.Model, stages: list[Any], images: np.ndarray) -> list[Peaks]:
    """Finds the peak of every feature map of every stage, for each image."""
    tensors = [*(find_preactivation(layer) for layer in stages), *(layer.output for layer in stages)]
    batches: list[list[tuple[np.ndarray, ...]]] = [[] for _ in stages]
    for outputs in run_batches(keras.Model(model.inputs, tensors), images):
        for stage in range(len(stages)):
            preactivations = outputs[stage].reshape(len(outputs[stage]), -1, outputs[stage].shape[-1])
            activations = outputs[len(stages) + stage].reshape(preactivations.shape)
            positions = preactivations.argmax(axis=1)[:, None]
            peaks = [np.take_along_axis(values, positions, axis=1)[:, 0] for values in (preactivations, activations)]
            batches[stage].append((*peaks, positions[:, 0]))
    return [Peaks(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True))) for rows in batches]


def _draw_active(peaks: list[Peaks], num_filters: int, seed: int) -> list[tuple[int, int]]:
    """Draws filters that are active on at least one image. Returns the stage and the channel of each."""
    rng = np.random.default_rng(seed)
    filters = []
    for stage, peak in enumerate(peaks):
        active = np.flatnonzero(peak.activations.max(axis=0) > 0)
        drawn = np.sort(rng.permutation(active)[:num_filters])
        filters += [(stage, int(channel)) for channel in drawn]
    return filters


def _locate(position: int, map_shape: tuple[int, int]) -> tuple[float, float]:
    """Converts a position in a feature map to fractions of height and width."""
    rows, columns = map_shape
    return (position // columns + 0.5) / rows, (position % columns + 0.5) / columns


def _cut_patch(image: np.ndarray, center: tuple[float, float], side: int) -> np.ndarray:
    """Cuts a square around a center, given as fractions of height and width. At the border it moves inward."""
    height, width = image.shape[:2]
    top = int(np.clip(round(center[0] * height - side / 2), 0, height - side))
    left = int(np.clip(round(center[1] * width - side / 2), 0, width - side))
    return np.asarray(image[top : top + side, left : left + side])
