"""The parameters and multiply-accumulates of the CNN as formulas, in symbols and in numbers."""

from dataclasses import dataclass, replace

from keras_inat.models.convolutions import COLORS, halve, list_convolutions
from keras_inat.models.cost import count_features
from keras_inat.settings.schema import Model

PARAMETERS = "parameters"
MACS = "multiply-accumulates"
QUANTITIES = (PARAMETERS, MACS)


@dataclass(frozen=True)
class Term:
    """A summand of a total.

    Attributes:
        quantity: The total, one of `QUANTITIES`.
        part: The part of the network that the term counts.
        symbols: The term in symbols.
        numbers: The term with the numbers of the network.
        value: The value of the term.
    """

    quantity: str
    part: str
    symbols: str
    numbers: str
    value: int


def list_terms(config: Model, image_size: int, num_classes: int) -> list[Term]:
    """Returns the terms of both totals. The terms of a quantity add up to the total of `count_cnn`.

    If all convolutions have the same m filters of the same side k, the terms are in m and k, otherwise in sums over i.
    """
    terms = [
        *_list_convolution_terms(config, image_size),
        *_list_dense_terms(config, count_features(config, image_size), num_classes),
    ]
    terms.sort(key=lambda term: QUANTITIES.index(term.quantity))
    if config.ensemble_size == 1:
        return terms
    return [_multiply(term, config.ensemble_size) for term in terms]


def _list_convolution_terms(config: Model, image_size: int) -> list[Term]:
    convolutions = list_convolutions(config)
    count = len(convolutions)
    filters = [conv.filters for conv in convolutions]
    per_filter = 4 if config.batch_norm else 1
    # Convolutions that differ only in the side of their output share a product.
    sides_of_product: dict[str, list[int]] = {}
    macs = 0
    for conv in convolutions:
        side = halve(image_size, conv.num_poolings)
        sides_of_product.setdefault(f"{conv.filters}·{conv.kernel_size}²·{conv.inputs}", []).append(side)
        macs += side**2 * conv.weights
    weights = " + ".join(_times([str(len(sides))], product) for product, sides in sides_of_product.items())
    uses = " + ".join(_times([f"{side}²" for side in sides], product) for product, sides in sides_of_product.items())
    if _is_uniform(config):
        weight_symbols = f"m k² (3 + {count - 1} m)"
        channel_symbols = f"{per_filter}·{count} m"
        mac_symbols = "m k² (3 s₁² + m Σᵢ₌₂ sᵢ²)"
    else:
        weight_symbols = "Σ mᵢ kᵢ² mᵢ₋₁"
        channel_symbols = f"{per_filter} Σ mᵢ"
        mac_symbols = "Σ sᵢ² mᵢ kᵢ² mᵢ₋₁"
    return [
        Term(PARAMETERS, "convolutions", weight_symbols, weights, sum(conv.weights for conv in convolutions)),
        Term(
            PARAMETERS,
            "normalization" if config.batch_norm else "biases",
            channel_symbols,
            _times([str(number) for number in filters], str(per_filter)),
            per_filter * sum(filters),
        ),
        Term(MACS, "convolutions", mac_symbols, uses, macs),
    ]


def _list_dense_terms(config: Model, width: int, num_classes: int) -> list[Term]:
    """Returns the terms of the dense layer, unless there is none, and of the output layer."""
    terms = []
    symbol = "d"
    if units := config.dense_units:
        terms += [
            Term(PARAMETERS, "dense layer", "n (d + 1)", f"{units}·({width}+1)", units * (width + 1)),
            Term(MACS, "dense layer", "n d", f"{units}·{width}", units * width),
        ]
        symbol = "n"
        width = units
    return [
        *terms,
        Term(PARAMETERS, "output", f"C ({symbol} + 1)", f"{num_classes}·({width}+1)", num_classes * (width + 1)),
        Term(MACS, "output", f"C {symbol}", f"{num_classes}·{width}", num_classes * width),
    ]


def _multiply(term: Term, ensemble_size: int) -> Term:
    return replace(
        term,
        symbols=f"E ({term.symbols})",
        numbers=f"{ensemble_size}·({term.numbers})",
        value=ensemble_size * term.value,
    )


def describe_symbols(config: Model, image_size: int, num_classes: int) -> str:
    """Defines the symbols of `list_terms` in words."""
    filters = config.filters_per_block[-1]
    width = count_features(config, image_size)
    count = len(list_convolutions(config))
    ensemble = f"E = {config.ensemble_size} ensemble members, each with " if config.ensemble_size > 1 else ""
    if _is_uniform(config):
        kernels = f"m = {filters} filters of side k = {config.kernel_sizes[0]} in each of the {count} convolutions"
    else:
        kernels = f"mᵢ filters of side kᵢ in convolution i of {count} (m₀ = {COLORS} color channels)"
    dense = f"n = {config.dense_units} neurons in the dense layer" if config.dense_units else "no dense layer"
    flat = f" = {filters}·{halve(image_size, config.num_blocks)}²" if config.pooling == "flatten" else ""
    return (
        f"{ensemble}{kernels}; sᵢ the side of the output of convolution i (s₁ = {image_size}, the side of the image; "
        f"each pooling halves it and rounds up); {dense}; d = {width}{flat} features after the last block; "
        f"C = {num_classes} classes"
    )


def _is_uniform(config: Model) -> bool:
    convolutions = list_convolutions(config)
    return len(convolutions) > 1 and len({(conv.filters, conv.kernel_size) for conv in convolutions}) == 1


def _times(summands: list[str], factor: str) -> str:
    """Writes a sum times a factor. A single summand has no parentheses, and a factor of 1 is omitted."""
    if len(summands) > 1:
        return f"({'+'.join(summands)})·{factor}"
    if summands == ["1"]:
        return factor
    return summands[0] if factor == "1" else f"{summands[0]}·{factor}"
