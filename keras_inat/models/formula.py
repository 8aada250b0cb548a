"""What the CNN costs as a formula, with this network's numbers put in."""

from dataclasses import dataclass, replace

from keras_inat.models.convolutions import COLORS, halve, list_convolutions
from keras_inat.models.cost import count_features
from keras_inat.settings.schema import Model


@dataclass(frozen=True)
class Term:
    """A summand of the parameters or the computations: of what, in symbols, with numbers put in, and worked out."""

    quantity: str
    part: str
    symbols: str
    numbers: str
    value: int


def write_terms(config: Model, image_size: int, num_classes: int) -> list[Term]:
    """The closed form of `count_cnn`'s totals: those of a quantity are the sum of its terms.

    Where all convolutions have the same m filters of the same side k, it is one in m and k, otherwise in sums over i.
    """
    convolutions = list_convolutions(config)
    filters = [conv.filters for conv in convolutions]
    # Convolutions that differ only in the side of what they put out are written as one product.
    alike: dict[str, list[int]] = {}
    for conv in convolutions:
        product = f"{conv.filters}·{conv.kernel_size}²·{conv.inputs}"
        alike.setdefault(product, []).append(halve(image_size, conv.halvings))
    weights = " + ".join(_times([str(len(sides))], product) for product, sides in alike.items())
    uses = " + ".join(_times([f"{side}²" for side in sides], product) for product, sides in alike.items())
    macs = sum(halve(image_size, conv.halvings) ** 2 * conv.weights for conv in convolutions)
    count, each = len(convolutions), 4 if config.batch_norm else 1
    symbols = ("Σ mᵢ kᵢ² mᵢ₋₁", f"{each} Σ mᵢ", "Σ sᵢ² mᵢ kᵢ² mᵢ₋₁")
    if _is_uniform(config):
        symbols = (f"m k² (3 + {count - 1} m)", f"{each}·{count} m", "m k² (3 s₁² + m Σᵢ₌₂ sᵢ²)")
    dense, width = config.dense_units, count_features(config, image_size)
    letter, last = ("n", dense) if dense else ("d", width)
    terms = [
        Term("parameters", "convolutions", symbols[0], weights, sum(conv.weights for conv in convolutions)),
        Term(
            "parameters",
            "normalisation" if config.batch_norm else "biases",
            symbols[1],
            _times(list(map(str, filters)), str(each)),
            each * sum(filters),
        ),
        Term("parameters", "dense layer", "n (d + 1)", f"{dense}·({width}+1)", dense * (width + 1)),
        Term("parameters", "output", f"C ({letter} + 1)", f"{num_classes}·({last}+1)", num_classes * (last + 1)),
        Term("computations", "convolutions", symbols[2], uses, macs),
        Term("computations", "dense layer", "n d", f"{dense}·{width}", dense * width),
        Term("computations", "output", f"C {letter}", f"{num_classes}·{last}", num_classes * last),
    ]
    terms = [term for term in terms if dense or term.part != "dense layer"]
    return terms if config.ensemble_size == 1 else [_multiply(term, config.ensemble_size) for term in terms]


def _multiply(term: Term, ensemble_size: int) -> Term:
    symbols, numbers = f"T ({term.symbols})", f"{ensemble_size}·({term.numbers})"
    return replace(term, symbols=symbols, numbers=numbers, value=ensemble_size * term.value)


def explain_letters(config: Model, image_size: int, num_classes: int) -> str:
    """What the letters of `write_terms` stand for."""
    filters, width = config.filters_per_block[-1], count_features(config, image_size)
    count = len(list_convolutions(config))
    if _is_uniform(config):
        where = f"m = {filters} filters of side k = {config.kernel_sizes[0]} in each of {count} convolutions, the i-th"
    else:
        where = f"mᵢ filters of side kᵢ in convolution i of {count} (m₀ = {COLORS} colours),"
    flat = f" = {filters}·{halve(image_size, config.num_blocks)}²" if config.pooling == "flatten" else ""
    ensemble_size = f"T = {config.ensemble_size} towers, each of " if config.ensemble_size > 1 else ""
    dense = f"n = {config.dense_units} neurons of the dense layer" if config.dense_units else "no dense layer"
    return (
        f"{ensemble_size}{where} with an output of side sᵢ (s₁ = {image_size}, the image's; each pooling halves it, rounding "
        f"up); {dense}; d = {width}{flat} numbers that the blocks hand to the head; C = {num_classes} classes"
    )


def _is_uniform(config: Model) -> bool:
    convolutions = list_convolutions(config)
    return len(convolutions) > 1 and len({(conv.filters, conv.kernel_size) for conv in convolutions}) == 1


def _times(summands: list[str], factor: str) -> str:
    """A sum times a factor, without brackets around a single summand, and without a one."""
    if "1" in (factor, *summands) and len(summands) == 1:
        return factor if summands == ["1"] else summands[0]
    total = "+".join(summands)
    return f"({total})·{factor}" if len(summands) > 1 else f"{total}·{factor}"
