"""The CNN, layer by layer, and what it costs in closed form with the numbers put in."""

from keras_inat.config import read_yaml
from keras_inat.models.cost import count_cnn
from keras_inat.report.blocks import Prose, Section, Table
from keras_inat.report.story import DataSet
from keras_inat.report.wording import percent
from keras_inat.sections import Model


def describe_network(data_set: DataSet) -> Section:
    """The CNN's layers, and its cost in closed form with the numbers put in."""
    section = Section("The network and its cost")
    groups = data_set.find_groups("train-best")
    sweeps = [sweep for sweep in data_set.sweeps if (sweep.folder / "best.yaml").exists()]
    if groups:
        record = groups[0].best
        model, size = Model(**record.config["model"]), record.data["image_size"]
        origin = f"`{record.folder.path.name}`"
    elif sweeps and data_set.data:
        values = read_yaml(sweeps[0].folder / "best.yaml")
        model, size = Model(**values["model"]), values["data"]["image_size"]
        origin = f"the best trial of the sweep `{sweeps[0].name}`"
    else:
        section.blocks = [Prose("No network was trained from scratch on these images yet: `make train-best` does it.")]
        return section
    num_classes = len(data_set.data["classes"]) if data_set.data else 10
    rows = count_cnn(model, size, num_classes)
    totals = [sum(getattr(row, name) for row in rows) for name in ("parameters", "macs", "activations")]
    heaviest = max(rows, key=lambda row: row.parameters)
    widest = max(rows, key=lambda row: row.macs)
    section.blocks = [
        Prose(
            f"{origin} has {totals[0]:,} parameters and computes {totals[1]:,} multiply-accumulates for one image of "
            f"{size} × {size} pixels. No layer has more parameters than `{heaviest.name}` "
            f"({percent(heaviest.parameters / totals[0])} of all), none computes more than `{widest.name}` "
            f"({percent(widest.macs / totals[1])})."
        ),
        _write_closed_form(model, size, num_classes, (totals[0], totals[1])),
        Table(
            "Layer by layer, for one image.",
            "lrrrr",
            ["layer", "output", "parameters", "multiply-accumulates", "activations"],
            [
                [
                    row.name,
                    " × ".join(map(str, row.output)),
                    f"{row.parameters:,}",
                    f"{row.macs:,}",
                    f"{row.activations:,}",
                ]
                for row in rows
            ]
            + [["total", "", *(f"{total:,}" for total in totals)]],
        ),
    ]
    if groups and (record.result["parameters"], record.result["macs"]) == (totals[0], totals[1]):
        section.blocks.append(Prose("The trained model, counted weight by weight, gives the same two numbers."))
    return section


def _write_closed_form(model: Model, size: int, num_classes: int, totals: tuple[int, int]) -> Table:
    kernels, filters = model.kernel_sizes, model.filters_per_block
    inputs, sides = (3, *filters[:-1]), [size // 2**block for block in range(model.num_blocks)]
    bias = 0 if model.batch_norm else 1
    side = size // 2**model.num_blocks
    width = filters[-1] * (side**2 if model.pooling == "flatten" else 1)
    blocks = list(zip(filters, kernels, inputs, sides, strict=True))
    add = f"+{bias}" if bias else ""
    entries: list[tuple[str, str, str, int]] = [
        (
            "parameters: convolutions",
            "Σ mᵢ (kᵢ² mᵢ₋₁ + 1)" if bias else "Σ mᵢ kᵢ² mᵢ₋₁",
            " + ".join(f"{m}·({k}²·{c}{add})" if bias else f"{m}·{k}²·{c}" for m, k, c, _ in blocks),
            sum(m * (k**2 * c + bias) for m, k, c, _ in blocks),
        )
    ]
    if model.batch_norm:
        entries.append(("parameters: normalisation", "Σ 4 mᵢ", f"4·({'+'.join(map(str, filters))})", 4 * sum(filters)))
    dense = model.dense_units
    last = dense or width
    if dense:
        entries.append(("parameters: dense layer", "n (d + 1)", f"{dense}·({width}+1)", dense * (width + 1)))
    letter = "n" if dense else "d"
    entries += [
        ("parameters: output", f"C ({letter} + 1)", f"{num_classes}·({last}+1)", num_classes * (last + 1)),
        ("parameters: total", "", "", totals[0]),
        (
            "computations: convolutions",
            "Σ sᵢ² mᵢ kᵢ² mᵢ₋₁",
            " + ".join(f"{s}²·{m}·{k}²·{c}" for m, k, c, s in blocks),
            sum(s**2 * m * k**2 * c for m, k, c, s in blocks),
        ),
    ]
    if dense:
        entries.append(("computations: dense layer", "n d", f"{dense}·{width}", dense * width))
    entries += [
        ("computations: output", f"C {letter}", f"{num_classes}·{last}", num_classes * last),
        ("computations: total", "", "", totals[1]),
    ]
    where = "n neurons of the dense layer, " if dense else ""
    flat = f"{filters[-1]}·{side}²" if model.pooling == "flatten" else f"{filters[-1]}, averaged over positions"
    caption = (
        f"In closed form: mᵢ filters of side kᵢ in block i of {model.num_blocks} (m₀ = 3 colours), output side "
        f"sᵢ = s / 2ⁱ⁻¹ for images of side s = {size}, {where}d = {width} inputs to it ({flat}), C = {num_classes} "
        "classes. Computations are multiply-accumulates for one image."
    )
    if not dense:
        caption = caption.replace("inputs to it", "inputs to the output layer")
    rows = [[name, form, numbers, f"{value:,}"] for name, form, numbers, value in entries]
    return Table(caption, "lllr", ["what", "closed form", "with numbers", "="], rows)
