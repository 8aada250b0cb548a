"""What a network costs: parameters, multiply-accumulates, activations and memory.

The closed form needs no TensorFlow. For input channels c, m filters of side k and a square output of side s, a
convolution has m (k^2 c + b) parameters and s^2 m k^2 c multiply-accumulates, where b is 1 with a bias and 0 without
(batch normalisation takes its place, with 4 m parameters, of which 2 m train). A dense layer from d to n has
n (d + 1) parameters and n d multiply-accumulates. Additions of biases, normalisation, activations and pooling are not
counted among the multiply-accumulates: together they are a few percent of them.
"""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError
from keras_inat.models.convolutions import COLORS, halve, list_convolutions, list_prefixes
from keras_inat.settings.schema import Config, Model

# The weights that multiply, by the kind of layer.
KERNELS = {
    "Conv2D": ("kernel",),
    "DepthwiseConv2D": ("kernel",),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
    "Dense": ("kernel",),
}
# Numbers that an optimizer keeps for each trained weight.
MOMENTS = {"sgd": 1, "rmsprop": 1, "adam": 2, "adamw": 2, "muon": 1}
FLOAT_BYTES, HALF_BYTES = 4, 2
# Where Linux says how much memory a container may have, in the second and the first version of control groups.
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
NETWORKS = 3  # the one in training, its twin that is judged, the best so far


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


@dataclass(frozen=True)
class Memory:
    """What training takes, in bytes.

    Attributes:
        weights: All parameters, in each of `NETWORKS` copies.
        gradients: Of the parameters that train.
        moments: What the optimizer keeps of each of those, the running average included.
        activations: The output of every layer for one batch, kept until the gradients are known.
        spared: Those of them that go into an activation function whose gradient, as ReLU's, follows from its output.
        passing: The gradients of a layer's output and input while one is computed from the other, for the largest.
    """

    weights: int
    gradients: int
    moments: int
    activations: int
    spared: int
    passing: int

    @property
    def kept(self) -> int:
        """Without what is there in passing, and without what ReLU spares: no training takes less."""
        return self.weights + self.gradients + self.moments + self.kept_activations

    @property
    def kept_activations(self) -> int:
        """The least of them that are kept."""
        return self.activations - self.spared

    @property
    def total(self) -> int:
        """All of it."""
        return self.kept + self.spared + self.passing


def count_cnn(config: Model, image_size: int, num_classes: int) -> list[LayerCost]:
    """The cost of `build_cnn`, every layer after the input, in closed form, without building it."""
    rows = [LayerCost("rescale", (image_size, image_size, COLORS), 0, 0)]
    for conv in list_convolutions(config):
        before, bias = halve(image_size, conv.halvings), 0 if config.batch_norm else conv.filters
        after = halve(before, 1) if conv.pooled else before
        middle = after if config.pool_first else before
        # Layers behind the convolution: whether there is one, its name, its side and its parameters.
        layers = [
            (conv.pooled and config.pool_first, f"block{conv.block}_pool", after, 0),
            (config.batch_norm, conv.name("norm"), middle, 4 * conv.filters),
            (conv.closes, conv.name("add"), middle, 0),
            (True, conv.name("activation"), middle, 0),
            (conv.pooled and not config.pool_first, f"block{conv.block}_pool", after, 0),
            (conv.last and config.block_dropout, f"block{conv.block}_dropout", after, 0),
        ]
        output = (before, before, conv.filters)
        rows.append(LayerCost(conv.name("conv"), output, conv.weights + bias, before**2 * conv.weights))
        rows += [LayerCost(name, (side, side, conv.filters), count, 0) for there, name, side, count in layers if there]
    width, dense = count_features(config, image_size), config.dense_units
    rows.append(LayerCost(config.pooling, (width,), 0, 0))
    if config.dropout and config.dropout_placement == "before_dense":
        rows.append(LayerCost("dropout", (width,), 0, 0))
    if dense:
        rows.append(LayerCost("dense", (dense,), dense * (width + 1), dense * width))
        rows.append(LayerCost("dense_activation", (dense,), 0, 0))
        width = dense
    if config.dropout and config.dropout_placement == "after_dense":
        rows.append(LayerCost("dropout", (width,), 0, 0))
    rows.append(LayerCost("predictions", (num_classes,), num_classes * (width + 1), num_classes * width))
    return rows if config.ensemble_size == 1 else _stand_side_by_side(rows, list_prefixes(config))


def _stand_side_by_side(rows: list[LayerCost], prefixes: list[str]) -> list[LayerCost]:
    """The layers of all towers, level by level, and what takes the mean of their last ones."""
    levels = [[replace(row, name=prefix + row.name) for prefix in prefixes] for row in rows[1:]]
    levels[-1][0] = replace(levels[-1][0], name="tower1_predictions")
    mean = LayerCost("predictions", rows[-1].output, 0, 0)
    return [rows[0], *(row for level in levels for row in level), mean]


def count_features(config: Model, image_size: int) -> int:
    """Numbers that the blocks hand to the head."""
    positions = halve(image_size, config.num_blocks) ** 2 if config.pooling == "flatten" else 1
    return config.filters_per_block[-1] * positions


def count_layers(model: Any) -> list[LayerCost]:
    """The cost of every layer after the input of any built Keras model, those of nested models included.

    Each weight of a convolution is used once for every position of its output, each weight of a dense layer once.
    """
    rows = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if getattr(layer, "layers", None) or type(layer).__name__ == "InputLayer":
            continue
        kernels = [getattr(layer, name) for name in KERNELS.get(type(layer).__name__, ())]
        output = tuple(layer.output.shape[1:])
        macs = math.prod(output[:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)
        rows.append(LayerCost(layer.name, output, layer.count_params(), macs))
    return rows


def count_model(model: Any) -> tuple[int, int]:
    """Parameters and multiply-accumulates for one image of any built Keras model."""
    return model.count_params(), sum(row.macs for row in count_layers(model))


def estimate_memory(config: Config, num_classes: int) -> Memory:
    """What training the CNN from scratch takes, without TensorFlow itself and the images that wait.

    An estimate, with activations in float32 unless `training.precision` is a mixed one. Peaks of whole steps on a CPU
    were 0.5 to 1.6 times as much: ReLU spares what goes into it, smooth activations keep more than their output.
    """
    rows = _count_training(config, num_classes)
    parameters = sum(row.parameters for row in rows)
    # Half of batch normalisation's numbers are statistics, which no gradient moves.
    trained = parameters - sum(row.parameters // 2 for row in rows if "_norm" in row.name)
    duplicates = MOMENTS[config.training.optimizer] + (config.training.ema > 0)
    half = config.training.precision.startswith("mixed")
    batch = (HALF_BYTES if half else FLOAT_BYTES) * config.training.batch_size
    return Memory(
        weights=FLOAT_BYTES * parameters * NETWORKS,
        gradients=FLOAT_BYTES * trained,
        moments=FLOAT_BYTES * trained * duplicates,
        activations=batch * sum(row.activations for row in rows),
        spared=batch * sum(row.activations for row in rows if "activation" in row.name),
        passing=2 * batch * max(row.activations for row in rows),
    )


def check_memory(config: Config, num_classes: int, available: int | None = None) -> None:
    """Refuses a training from scratch that cannot fit in memory, before anything is allocated.

    Args:
        config: Without a `finetune` section.
        num_classes: Length of the output.
        available: Bytes of the device that trains; None: this machine's.

    Raises:
        UserError: With the arithmetic and the settings that help.
    """
    if available is None:
        available = _count_memory()
    memory, training = estimate_memory(config, num_classes), config.training
    if memory.kept <= available:
        return
    row = max(_count_training(config, num_classes), key=lambda row: row.parameters)
    if memory.kept_activations > memory.kept / 2:
        made = _gigabytes(memory.kept_activations)
        heaviest = f"`training.batch_size`={training.batch_size} makes {made} of activations"
        fix = "a smaller `training.batch_size` or `data.image_size`, or fewer `model.filters`"
    elif row.name.startswith("block"):
        heaviest = f"`model.filters` makes the layer {row.name} {row.parameters:.2g} weights"
        fix = "fewer `model.filters`, a smaller `model.kernel_size` or another `model.filter_organization`"
    else:
        units, pooling = row.output[0], config.model.pooling
        heaviest = (
            f"`model.pooling`={pooling} makes the layer {row.name} {row.macs // units:,} x {units:,} = "
            f"{row.parameters:.2g} weights"
        )
        fix = "`model.pooling`=average, fewer `model.dense_units` or a smaller `data.image_size`"
    raise UserError(
        f"{heaviest}; all weights, their gradients, what {training.optimizer} keeps of them and a batch's activations "
        f"take at least {_gigabytes(memory.kept)}, this machine has {_gigabytes(available)}: use {fix}"
    )


def _count_memory() -> int:
    """Bytes of this machine's memory, or what its container may have of it."""
    limits = [int(path.read_text()) for path in CONTAINER_LIMITS if path.exists() and path.read_text().strip() != "max"]
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])


def _count_training(config: Config, num_classes: int) -> list[LayerCost]:
    """The cost at the largest side that training sees."""
    return count_cnn(config.model, max(config.training_sizes), num_classes)


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.3g} GB"
