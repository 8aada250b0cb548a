"""The layers of the CNN and the cost of a network: parameters, multiply-accumulates (MACs) and activations.

Nothing here imports Keras. A convolution has c input channels, m filters of side k and a square output of side s. It
has m (k^2 c + b) parameters and s^2 m k^2 c multiply-accumulates. Here b is 1 with a bias and 0 without. Batch
normalization replaces the bias and has 4 m parameters, of which 2 m are trainable. A dense layer from d to n units has
n (d + 1) parameters and n d multiply-accumulates. The additions of biases, normalization, activations and pooling are
not counted as multiply-accumulates. Together they are a few percent of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from keras_inat.settings.schema import Model

PARAMETERS = "parameters"
MACS = "multiply-accumulates"
COLORS = 3
PAIR_KERNEL_SIZE = 3


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution and its position in the network."""

    block: int  # from 1
    number: int  # within its block, from 1
    inputs: int  # channels
    filters: int
    kernel_size: int
    num_poolings: int  # before it
    pooled: bool  # followed by the pooling of its block
    closes_pair: bool  # the second of a residual pair, which adds the input of the first to its output

    @property
    def weights(self) -> int:
        """The number of weights in its kernels."""
        return self.filters * self.kernel_size**2 * self.inputs

    def name(self, kind: str) -> str:
        """Returns the name of a layer that belongs to it: `block1_conv`, `block1_conv2`, ..."""
        suffix = str(self.number) if self.number > 1 else ""
        return f"block{self.block}_{kind}{suffix}"


def halve(side: int, times: int) -> int:
    """Returns the side of a feature map after `times` poolings, each of which rounds up."""
    return -(-side // 2**times)


def list_prefixes(config: Model) -> list[str]:
    """Returns the prefix of the layer names of each ensemble member: an empty one, `member2_`, ..."""
    return ["", *(f"member{number}_" for number in range(2, config.ensemble_size + 1))]


def list_convolutions(config: Model) -> list[Convolution]:
    """Returns all convolutions, first to last. The input of each is the output of the one before it."""
    convolutions = []
    inputs = COLORS
    blocks = zip(config.filters_per_block, config.kernel_sizes, config.convolutions_per_block, strict=True)
    for block, (filters, kernel_size, count) in enumerate(blocks, 1):
        pooled = 1 if config.residual else count
        for number in range(1, count + 1):
            paired = number > pooled
            convolution = Convolution(
                block=block,
                number=number,
                inputs=inputs,
                filters=filters,
                kernel_size=PAIR_KERNEL_SIZE if paired else kernel_size,
                num_poolings=block if paired else block - 1,
                pooled=number == pooled,
                closes_pair=paired and number % 2 == 1,
            )
            convolutions.append(convolution)
            inputs = filters
    return convolutions


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
    rows += _count_head(config, _count_features(config, image_size), num_classes)
    if config.ensemble_size == 1:
        return rows
    # Keras lists the layers of all members level by level.
    prefixes = list_prefixes(config)
    members = [replace(row, name=prefix + row.name) for row in rows[1:] for prefix in prefixes]
    first_output = len(members) - len(prefixes)
    members[first_output] = replace(members[first_output], name="member1_predictions")
    return [rows[0], *members, LayerCost("predictions", (num_classes,))]


def _count_convolution(config: Model, conv: Convolution, side: int) -> Iterator[LayerCost]:
    """Yields the cost of a convolution and of the layers up to the next one, in the order of `build_cnn`."""
    bias = 0 if config.batch_norm else conv.filters
    output: tuple[int, ...] = (side, side, conv.filters)
    pool = LayerCost(f"block{conv.block}_pool", (halve(side, 1), halve(side, 1), conv.filters))
    yield LayerCost(conv.name("conv"), output, conv.weights + bias, side**2 * conv.weights)
    if conv.pooled and config.pool_first:
        output = pool.output
        yield pool
    if config.batch_norm:
        yield LayerCost(conv.name("norm"), output, 4 * conv.filters)
    if conv.closes_pair:
        yield LayerCost(conv.name("add"), output)
    yield LayerCost(conv.name("activation"), output)
    if conv.pooled and not config.pool_first:
        yield pool


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


def _count_features(config: Model, image_size: int) -> int:
    """Returns the number of features that the last block passes to the head."""
    positions = halve(image_size, config.num_blocks) ** 2 if config.pooling == "flatten" else 1
    return config.filters_per_block[-1] * positions


def count_layers(model: Any) -> list[LayerCost]:
    """Returns the cost of every layer after the input of any built Keras model, nested models included.

    A weight of a convolution is used once at every position of the output, a weight of a dense layer once.
    """
    rows = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if getattr(layer, "layers", None) or type(layer).__name__ == "InputLayer":
            continue
        weights = sum(math.prod(weight.shape) for weight in layer.weights if "kernel" in weight.name)
        output = tuple(layer.output.shape[1:])
        rows.append(LayerCost(layer.name, output, layer.count_params(), math.prod(output[:-1]) * weights))
    return rows


@dataclass(frozen=True)
class Term:
    """A summand of a total."""

    part: str  # the layers that the term counts
    symbols: str
    numbers: str
    value: int


def list_terms(config: Model, image_size: int, num_classes: int) -> dict[str, list[Term]]:
    """Returns the terms of `PARAMETERS` and of `MACS`, which add up to the totals of `count_cnn`.

    If all convolutions have the same m filters of the same side k, the terms are in m and k, otherwise in sums over i.
    """
    terms = _list_convolution_terms(config, image_size)
    inputs = "d"
    width = _count_features(config, image_size)
    for part, outputs, units in (("dense layer", "n", config.dense_units), ("output", "C", num_classes)):
        if units:
            parameters = Term(part, f"{outputs} ({inputs} + 1)", f"{units}·({width}+1)", units * (width + 1))
            terms[PARAMETERS].append(parameters)
            terms[MACS].append(Term(part, f"{outputs} {inputs}", f"{units}·{width}", units * width))
            inputs = outputs
            width = units
    size = config.ensemble_size
    if size > 1:
        for group in terms.values():
            group[:] = [
                Term(term.part, f"E ({term.symbols})", f"{size}·({term.numbers})", size * term.value) for term in group
            ]
    return terms


def _list_convolution_terms(config: Model, image_size: int) -> dict[str, list[Term]]:
    convolutions = list_convolutions(config)
    later = len(convolutions) - 1
    per_filter = 4 if config.batch_norm else 1
    # Convolutions that differ only in the side of their output share a product.
    areas_of_product: dict[str, list[str]] = {}
    macs = 0
    for conv in convolutions:
        side = halve(image_size, conv.num_poolings)
        areas_of_product.setdefault(f"{conv.filters}·{conv.kernel_size}²·{conv.inputs}", []).append(f"{side}²")
        macs += side**2 * conv.weights
    weights = " + ".join(_times([str(len(areas))], product) for product, areas in areas_of_product.items())
    uses = " + ".join(_times(areas, product) for product, areas in areas_of_product.items())
    if _is_uniform(convolutions):
        symbols = (f"m k² (3 + {later} m)", f"{per_filter}·{later + 1} m", "m k² (3 s₁² + m Σᵢ₌₂ sᵢ²)")
    else:
        symbols = ("Σ mᵢ kᵢ² mᵢ₋₁", f"{per_filter} Σ mᵢ", "Σ sᵢ² mᵢ kᵢ² mᵢ₋₁")
    channels = _times([str(conv.filters) for conv in convolutions], str(per_filter))
    part = "normalization" if config.batch_norm else "biases"
    return {
        PARAMETERS: [
            Term("convolutions", symbols[0], weights, sum(conv.weights for conv in convolutions)),
            Term(part, symbols[1], channels, per_filter * sum(conv.filters for conv in convolutions)),
        ],
        MACS: [Term("convolutions", symbols[2], uses, macs)],
    }


def describe_symbols(config: Model, image_size: int, num_classes: int) -> str:
    """Defines the symbols of `list_terms` in words."""
    convolutions = list_convolutions(config)
    filters = convolutions[-1].filters
    ensemble = f"E = {config.ensemble_size} ensemble members, each with " if config.ensemble_size > 1 else ""
    if _is_uniform(convolutions):
        size = convolutions[0].kernel_size
        kernels = f"m = {filters} filters of side k = {size} in each of the {len(convolutions)} convolutions"
    else:
        kernels = f"mᵢ filters of side kᵢ in convolution i of {len(convolutions)} (m₀ = {COLORS} color channels)"
    dense = f"n = {config.dense_units} neurons in the dense layer" if config.dense_units else "no dense layer"
    flat = f" = {filters}·{halve(image_size, config.num_blocks)}²" if config.pooling == "flatten" else ""
    return (
        f"{ensemble}{kernels}; sᵢ the side of the output of convolution i (s₁ = {image_size}, the side of the image; "
        f"each pooling halves it and rounds up); {dense}; d = {_count_features(config, image_size)}{flat} features "
        f"after the last block; C = {num_classes} classes"
    )


def _is_uniform(convolutions: list[Convolution]) -> bool:
    return len(convolutions) > 1 and len({(conv.filters, conv.kernel_size) for conv in convolutions}) == 1


def _times(summands: list[str], factor: str) -> str:
    """Writes a sum times a factor. A single summand has no parentheses, and a factor of 1 is omitted."""
    if len(summands) > 1:
        return f"({'+'.join(summands)})·{factor}"
    if summands == ["1"]:
        return factor
    return summands[0] if factor == "1" else f"{summands[0]}·{factor}"
