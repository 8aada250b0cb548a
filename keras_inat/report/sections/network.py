"""Network: the layers of the CNN and its cost, in closed form and in numbers."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from keras_inat.errors import UserError
from keras_inat.log import warn
from keras_inat.models.cost import LayerCost, count_cnn, describe_symbols, list_terms
from keras_inat.report.blocks import Prose, Section, Table
from keras_inat.report.formatting import percent
from keras_inat.report.history import DataSet
from keras_inat.settings.loading import build_config, read_yaml
from keras_inat.settings.schema import Config, Model

TITLE = "Network"
DEFAULT_NUM_CLASSES = 10


class Network(NamedTuple):
    """A CNN to describe."""

    origin: str  # the run or the sweep that it comes from, in words
    model: Model  # its settings
    image_size: int  # side of its input images in pixels


def describe_network(data_set: DataSet) -> Section:
    """Returns the section on the best CNN that was trained on the images."""
    network = _find_network(data_set)
    if network is None:
        return Section(TITLE, [Prose("No CNN was trained from scratch on these images yet. Run `make train-best`.")])
    num_classes = len(data_set.data.classes) if data_set.data else DEFAULT_NUM_CLASSES
    layers = count_cnn(network.model, network.image_size, num_classes)
    parameters = sum(layer.parameters for layer in layers)
    macs = sum(layer.macs for layer in layers)
    most_parameters = max(layers, key=lambda layer: layer.parameters)
    most_macs = max(layers, key=lambda layer: layer.macs)
    section = Section(TITLE)
    section.blocks = [
        Prose(
            f"{network.origin} has {parameters:,} parameters. It computes {macs:,} multiply-accumulates (MACs) for "
            f"one image of {network.image_size} × {network.image_size} pixels. The layer with the most parameters is "
            f"`{most_parameters.name}` ({percent(most_parameters.parameters / parameters)} of all). The layer with the "
            f"most multiply-accumulates is `{most_macs.name}` ({percent(most_macs.macs / macs)})."
        ),
        _tabulate_closed_form(network.model, network.image_size, num_classes),
        _tabulate_layers(layers),
    ]
    groups = data_set.find_groups("train-best")
    if groups and (groups[0].best.result.parameters, groups[0].best.result.macs) == (parameters, macs):
        section.blocks.append(Prose("The trained model, counted layer by layer, has the same two totals."))
    return section


def _find_network(data_set: DataSet) -> Network | None:
    """Returns the CNN of the best run from scratch, or else of the best trial of the newest sweep."""
    groups = data_set.find_groups("train-best")
    if groups:
        run = groups[0].best
        return Network(f"`{run.title}`", run.result.config.model, run.data.image_size)
    for sweep in data_set.sweeps:
        config = _read_best(sweep.folder.best)
        if config and not config.finetune and data_set.data:
            return Network(f"The best trial of the sweep `{sweep.name}`", config.model, config.data.image_size)
    return None


def _read_best(path: Path) -> Config | None:
    """Reads the best configuration of a sweep. Returns None if there is none and, with a warning, if it is damaged."""
    if not path.exists():
        return None
    with contextlib.suppress(UserError):
        values = read_yaml(path)
        if "model" in values:
            return build_config(values)
    warn(f"{path} is damaged and skipped")
    return None


def _tabulate_closed_form(model: Model, size: int, num_classes: int) -> Table:
    rows = []
    for quantity, terms in list_terms(model, size, num_classes).items():
        rows += [[f"{quantity}: {term.part}", term.symbols, term.numbers, f"{term.value:,}"] for term in terms]
        rows.append([f"{quantity}: total", "", "", f"{sum(term.value for term in terms):,}"])
    caption = (
        f"Closed form, with {describe_symbols(model, size, num_classes)}. The multiply-accumulates are for one image."
    )
    return Table(caption, "lllr", ["quantity", "closed form", "with numbers", "value"], rows)


def _tabulate_layers(layers: list[LayerCost]) -> Table:
    rows = []
    for layer in layers:
        numbers = [f"{number:,}" for number in (layer.parameters, layer.macs, layer.activations)]
        rows.append([layer.name, " × ".join(map(str, layer.output)), *numbers])
    totals = [sum(getattr(layer, name) for layer in layers) for name in ("parameters", "macs", "activations")]
    rows.append(["total", "", *(f"{total:,}" for total in totals)])
    head = ["layer", "output", "parameters", "multiply-accumulates", "activations"]
    return Table("Layer by layer, for one image.", "lrrrr", head, rows)
