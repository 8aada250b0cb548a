"""Explanations of a trained model: what the report shows of it, stored so that TensorFlow is needed only once."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator, SerializationInfo, TypeAdapter, ValidationInfo

from keras_inat.files import write_atomically
from keras_inat.store.predictions import DAMAGED, hash_arrays, open_arrays

GUIDED = "Guided backpropagation"
GUIDED_CAM = "Guided Grad-CAM"
SHUFFLED = "Guided backpropagation, shuffled weights"
INTEGRATED = "Integrated gradients"
EDGES = "Image edges"
RANDOM = "Random order"
NUM_STEPS = 12  # of deletion and insertion
FEATURES = ("edges", "saturation", "brightness")  # of an image, with which maps are correlated
DIGEST = "digest"  # the SHA-256 of all others, in their order
RECORD = "record"  # the name of the JSON text in the file; the arrays have numbers


def _store(array: np.ndarray, info: SerializationInfo) -> int:
    """Moves an array into the list that is the context, and returns its index."""
    info.context.append(array)  # type: ignore[union-attr]
    return len(info.context) - 1  # type: ignore[arg-type]


def _load(index: Any, info: ValidationInfo) -> np.ndarray:
    """Returns the array with a given number from the file that is the context."""
    return np.asarray(info.context[str(int(index))])  # type: ignore[index]


Array = Annotated[np.ndarray, PlainValidator(_load), PlainSerializer(_store)]


@dataclass(frozen=True)
class StageMaps:
    """The feature maps of one image at one stage of a network."""

    layer: str
    num_filters: int
    num_silent: int  # filters whose map is the same everywhere
    filters: Array  # `(shown,)` int64, the filters with the highest mean absolute activation, by index
    maps: Array  # `(rows, columns, shown)` float16


@dataclass(frozen=True)
class StageResponses:
    """The relation of the feature maps of one stage to features of the images and to their classes."""

    layer: str
    # `(images, 3)` float32: the correlation over the positions of an image of the mean map with each of `FEATURES`.
    # Not a number if one of both is constant or if there are fewer than 16 positions.
    correlations: Array
    activations: Array  # `(images, filters)` float32, the mean activation over the positions
    labels: Array  # `(images,)` int64


@dataclass(frozen=True)
class FilterExplanation:
    """A filter with its synthetic image and its top activating patches, all as large as its receptive field."""

    layer: str
    filter: int  # index along the layer's channels
    synthetic: Array  # `(side, side, 3)` uint8, the result of activation maximization
    reached: float  # preactivation of the center of the synthetic image
    patches: Array  # `(patches, side, side, 3)` uint8, each of a different image, the highest preactivation first
    preactivations: Array  # `(patches,)` float32, each the maximum over the positions of its image

    @property
    def exceeds_patches(self) -> bool:
        """True if the synthetic image activates the filter more than any image did."""
        return self.reached > float(self.preactivations.max())


@dataclass(frozen=True)
class NeuronExplanation:
    """A neuron of a convolution with its top activating images and their guided gradients."""

    layer: str  # name of the activation layer
    filter: int  # index along the layer's channels
    row: int  # in the layer's feature map
    column: int
    images: tuple[int, ...]  # indices of the images with the largest preactivations, largest first
    preactivations: Array  # `(images,)` float32, the neuron's preactivation for them
    gradients: Array  # `(images, height, width, 3)` float16, guided gradients of the preactivation, each up to 1
    preferred_class: int  # class with the highest mean activation
    selectivity: float  # its class selectivity index in [0, 1]


@dataclass(frozen=True)
class DeletionInsertion:
    """Deletion and insertion curves of an attribution method: Petsiuk et al. 2018, arXiv 1806.07421.

    Deletion replaces pixels by those of a blurred image, the most important first. Insertion puts the pixels back into
    the blurred image in the same order. A curve is the probability of the explained class after each step, `(images,
    steps + 1)` float32. The better the method, the faster it falls or rises.
    """

    deletion: Array
    insertion: Array

    @property
    def scores(self) -> np.ndarray:
        """`(images,)`: area under the insertion curve minus area under the deletion curve; higher is better."""
        return np.trapezoid(self.insertion - self.deletion, dx=1 / NUM_STEPS, axis=1)


@dataclass(frozen=True)
class Attributions:
    """Attributions of the predicted classes of validation images by several methods, and the scores of the methods."""

    images: Array  # `(images,)` int64, rows of the validation sample
    predicted: Array  # `(images,)` int64
    confidences: Array  # `(images,)` float32
    gradients: dict[str, Array]  # by method, `(shown, height, width, 3)` float16 of the first images, each up to 1
    heatmaps: dict[str, Array]  # by method, `(shown, height, width)` float16, each up to 1
    # `(images,)` float32, the rank correlation of the sizes of the guided gradients with those of shuffled weights.
    # Not a number if either of them hardly varies over the image.
    shuffled_correlations: Array
    curves: dict[str, DeletionInsertion]


@dataclass(frozen=True)
class Explanations:
    """All explanations of a model. One that could not be made is None, and `failures` has the reason by its name."""

    first_layer: Array | None = None  # `(filters, height, width, 3)` float32, the kernels
    feature_maps: list[StageMaps] | None = None
    responses: list[StageResponses] | None = None
    filters: list[FilterExplanation] | None = None
    neurons: list[NeuronExplanation] | None = None
    predictions: Array | None = None  # `(images, height, width, 3)` float16, guided gradients of examples, each up to 1
    attributions: Attributions | None = None
    failures: dict[str, str] = field(default_factory=dict)
    lacked_memory: bool = False  # a failure that another attempt may not have

    def write(self, path: Path, key: str) -> None:
        """Writes a compressed `.npz` file, whole or not at all. It contains the key that it is read with."""
        arrays: list[np.ndarray] = []
        record = _RECORD.dump_json((key, self), context=arrays)
        digest = np.array(hash_arrays([*arrays, np.frombuffer(record, np.uint8)]))
        named = {str(index): array for index, array in enumerate(arrays)}
        with write_atomically(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **named, **{RECORD: np.frombuffer(record, np.uint8), DIGEST: digest})  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path, key: str) -> "Explanations | None":
        """Reads the explanations. Returns None if the file is missing or damaged, or has another key."""
        with contextlib.suppress(DAMAGED), open_arrays(path) as arrays:
            stored = dict(arrays)
            numbered = [stored[str(index)] for index in range(len(stored) - 2)]
            if str(stored[DIGEST]) != hash_arrays([*numbered, stored[RECORD]]):
                return None
            found, explanations = _RECORD.validate_json(stored[RECORD].tobytes(), context=stored)
            return explanations if found == key else None
        return None


_RECORD = TypeAdapter(tuple[str, Explanations])
