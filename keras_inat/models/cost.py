"""The cost of a network: parameters, multiply-accumulates (MACs) and activations.

The closed form needs no TensorFlow. A convolution has c input channels, m filters of side k and a square output of side
s. It has m (k^2 c + b) parameters and s^2 m k^2 c multiply-accumulates. Here b is 1 with a bias and 0 without. Batch
normalization replaces the bias and has 4 m parameters, of which 2 m are trainable. A dense layer from d to n units has
n (d + 1) parameters and n d multiply-accumulates. The additions of biases, normalization, activations and pooling are
not counted as multiply-accumulates. Together they are a few percent of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from keras_inat.models.convolutions import COLORS, Convolution, halve, list_convolutions, list_prefixes
from keras_inat.settings.schema import Model

# The weights that take part in multiply-accumulates, by layer class.
KERNELS = {
    "Conv2D": ("kernel",),
    "DepthwiseConv2D": ("kernel",),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
    "Dense": ("kernel",),
}


@dataclass(frozen=True)
class LayerCost:
    """The cost of a layer. `macs` and `activations` are for one image."""

    name: str
    output: tuple[int, ...]
    parameters: int = 0
    macs: int = 0

    @property
    def activations(self) -> int:
        """The number of output values."""
        return math.prod(self.output)


def count_cnn(config: Model, image_size: int, num_classes: int) -> list[LayerCost]:
    """Returns the cost of every layer of `build_cnn` after the input, in closed form and without building it."""
    rows = [LayerCost("rescale", (image_size, image_size, COLORS))]
    for conv in list_convolutions(config):
        rows += _count_convolution(config, conv, halve(image_size, conv.num_poolings))
    rows += _count_head(config, count_features(config, image_size), num_classes)
    if config.ensemble_size == 1:
        return rows
    return _repeat_for_ensemble(rows, list_prefixes(config))


def _count_convolution(config: Model, conv: Convolution, side: int) -> Iterator[LayerCost]:
    """Yields the cost of a convolution and of the layers up to the next one, in the order of `build_cnn`."""
    bias = 0 if config.batch_norm else conv.filters
    output = (side, side, conv.filters)
    pooled_output = (halve(side, 1), halve(side, 1), conv.filters)
    pool = LayerCost(f"block{conv.block}_pool", pooled_output)
    yield LayerCost(conv.name("conv"), output, conv.weights + bias, side**2 * conv.weights)
    if conv.pooled and config.pool_first:
        output = pooled_output
        yield pool
    if config.batch_norm:
        yield LayerCost(conv.name("norm"), output, 4 * conv.filters)
    if conv.closes_pair:
        yield LayerCost(conv.name("add"), output)
    yield LayerCost(conv.name("activation"), output)
    if conv.pooled and not config.pool_first:
        output = pooled_output
        yield pool
    if conv.ends_block and config.block_dropout:
        yield LayerCost(f"block{conv.block}_dropout", output)


def _count_head(config: Model, width: int, num_classes: int) -> Iterator[LayerCost]:
    """Yields the cost of the layers after the last block, which has `width` features."""
    yield LayerCost(config.pooling, (width,))
    if config.dropout and config.dropout_placement == "before_dense":
        yield LayerCost("dropout", (width,))
    if units := config.dense_units:
        yield LayerCost("dense", (units,), units * (width + 1), units * width)
        yield LayerCost("dense_activation", (units,))
        width = units
    if config.dropout and config.dropout_placement == "after_dense":
        yield LayerCost("dropout", (width,))
    yield LayerCost("predictions", (num_classes,), num_classes * (width + 1), num_classes * width)


def _repeat_for_ensemble(rows: list[LayerCost], prefixes: list[str]) -> list[LayerCost]:
    """Returns the layers of all members in Keras's order, level by level, and the layer that averages them."""
    repeated = [rows[0]]
    for row in rows[1:]:
        repeated += [replace(row, name=prefix + row.name) for prefix in prefixes]
    first = len(repeated) - len(prefixes)
    repeated[first] = replace(repeated[first], name="member1_predictions")
    return [*repeated, LayerCost("predictions", rows[-1].output)]


def count_features(config: Model, image_size: int) -> int:
    """Returns the number of features that the last block passes to the head."""
    positions = halve(image_size, config.num_blocks) ** 2 if config.pooling == "flatten" else 1
    return config.filters_per_block[-1] * positions


def count_layers(model: Any) -> list[LayerCost]:
    """Returns the cost of every layer after the input of any built Keras model, nested models included.

    A weight of a convolution is used once at every position of the output, a weight of a dense layer once.
    """
    rows = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        kind = type(layer).__name__
        if getattr(layer, "layers", None) or kind == "InputLayer":
            continue
        weights = 0
        for name in KERNELS.get(kind, ()):
            weights += math.prod(getattr(layer, name).shape)
        output = tuple(layer.output.shape[1:])
        rows.append(LayerCost(layer.name, output, layer.count_params(), math.prod(output[:-1]) * weights))
    return rows


def count_model(model: Any) -> tuple[int, int]:
    """Returns the parameters and the multiply-accumulates for one image of any built Keras model."""
    return model.count_params(), sum(row.macs for row in count_layers(model))
