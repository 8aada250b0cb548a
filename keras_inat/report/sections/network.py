"""The CNN, layer by layer, and what it costs in closed form with the numbers put in."""

import contextlib
import sys
from pathlib import Path

from keras_inat.errors import UserError
from keras_inat.models.cost import count_cnn
from keras_inat.models.formula import explain_letters, write_terms
from keras_inat.report.blocks import Prose, Section, Table
from keras_inat.report.formatting import percent
from keras_inat.report.history import DataSet
from keras_inat.settings.loading import build_config, read_yaml
from keras_inat.settings.schema import Config, Model


def describe_network(data_set: DataSet) -> Section:
    """The CNN's layers, and its cost in closed form with the numbers put in."""
    section = Section("The network and its cost")
    groups = data_set.find_groups("train-best")
    best = {sweep.name: config for sweep in data_set.sweeps if (config := _read_best(sweep.folder / "best.yaml"))}
    found = [(name, config) for name, config in best.items() if not config.finetune]
    if groups:
        record = groups[0].best
        model, size = Model(**record.config["model"]), record.data["image_size"]
        origin = f"`{record.folder.path.name}`"
    elif found and data_set.data:
        name, config = found[0]
        model, size = config.model, config.data.image_size
        origin = f"the best trial of the sweep `{name}`"
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
        _write_closed_form(model, size, num_classes),
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


def _read_best(path: Path) -> Config | None:
    """The best configuration of a sweep; None where there is none or, with a warning, where it is damaged."""
    if not path.exists():
        return None
    with contextlib.suppress(UserError):
        if "model" in (values := read_yaml(path)):
            return build_config(values)
    print(f"warning: {path} is damaged and left out", file=sys.stderr)
    return None


def _write_closed_form(model: Model, size: int, num_classes: int) -> Table:
    terms, rows = write_terms(model, size, num_classes), []
    for quantity in ("parameters", "computations"):
        chosen = [term for term in terms if term.quantity == quantity]
        rows += [[f"{quantity}: {term.part}", term.symbols, term.numbers, f"{term.value:,}"] for term in chosen]
        rows.append([f"{quantity}: total", "", "", f"{sum(term.value for term in chosen):,}"])
    caption = (
        f"In closed form, with {explain_letters(model, size, num_classes)}. Computations are multiply-accumulates for "
        "one image."
    )
    return Table(caption, "lllr", ["what", "closed form", "with numbers", "="], rows)
