"""What a network costs: parameters, multiply-accumulates and activations, layer by layer.

The closed form needs no TensorFlow. For input channels c, m filters of side k and a square output of side s, a
convolution has m (k^2 c + b) parameters and s^2 m k^2 c multiply-accumulates, where b is 1 with a bias and 0 without
(batch normalisation takes its place, with 4 m parameters, of which 2 m train). A dense layer from d to n has
n (d + 1) parameters and n d multiply-accumulates. Additions of biases, normalisation, activations and pooling are not
counted among the multiply-accumulates: together they are below one percent of them.
"""

import math
from dataclasses import dataclass
from typing import Any

from keras_inat.sections import Model

# The weights that multiply, by the kind of layer.
KERNELS = {
    "Conv2D": ("kernel",),
    "DepthwiseConv2D": ("kernel",),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
    "Dense": ("kernel",),
}


@dataclass(frozen=True)
class LayerCost:
    """One row of the table: `macs` and `activations` are for one image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def activations(self) -> int:
        """Numbers that the layer puts out."""
        return math.prod(self.output)


def count_cnn(config: Model, image_size: int, num_classes: int) -> list[LayerCost]:
    """The cost of `build_cnn`, in closed form, without building it."""
    rows, side, channels = [], image_size, 3
    for block, (filters, kernel) in enumerate(zip(config.filters_per_block, config.kernel_sizes, strict=True), 1):
        weights = filters * kernel**2 * channels
        bias = 0 if config.batch_norm else filters
        rows.append(LayerCost(f"block{block}_conv", (side, side, filters), weights + bias, side**2 * weights))
        if config.batch_norm:
            rows.append(LayerCost(f"block{block}_norm", (side, side, filters), 4 * filters, 0))
        side, channels = side // 2, filters
        rows.append(LayerCost(f"block{block}_pool", (side, side, filters), 0, 0))
    width = channels * side**2 if config.pooling == "flatten" else channels
    if config.dense_units:
        rows.append(
            LayerCost("dense", (config.dense_units,), config.dense_units * (width + 1), config.dense_units * width)
        )
        width = config.dense_units
    rows.append(LayerCost("predictions", (num_classes,), num_classes * (width + 1), num_classes * width))
    return rows


def count_layers(model: Any) -> list[LayerCost]:
    """The cost of every layer with weights of any built Keras model, those of nested models included.

    Each weight of a convolution is used once for every position of its output, each weight of a dense layer once.
    """
    rows = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if not layer.weights or getattr(layer, "layers", None):
            continue
        kernels = [getattr(layer, name) for name in KERNELS.get(type(layer).__name__, ())]
        output = tuple(layer.output.shape[1:]) if kernels else ()
        macs = math.prod(output[:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)
        rows.append(LayerCost(layer.name, output, layer.count_params(), macs))
    return rows


def count_model(model: Any) -> tuple[int, int]:
    """Parameters and multiply-accumulates for one image of any built Keras model."""
    return model.count_params(), sum(row.macs for row in count_layers(model))
