"""Network: the layers of the CNN and its cost, in closed form and in numbers."""

from keras_inat.errors import PROGRAM
from keras_inat.models.cost import LayerCost, count_cnn, describe_symbols, list_terms
from keras_inat.reporting.blocks import Details, Prose, Section, Table
from keras_inat.reporting.formatting import join_words, percent
from keras_inat.reporting.history import STUDENT, DataSet
from keras_inat.settings.schema import Model
from keras_inat.store.records import Result

TITLE = "Network"
LEAD = "The layers of the CNN, with their parameters and multiply-accumulates (computations)."


def describe_network(data_set: DataSet) -> Section:
    """Returns the section on the best CNN that was trained on the images."""
    origin, result = _find_network(data_set)
    if result is None:
        text = f"No CNN was trained from scratch on these images yet. Run `{PROGRAM} train-best`."
        return Section(TITLE, [Prose(text)])
    size = result.data.image_size
    num_classes = len(result.data.classes)
    layers = count_cnn(result.config.model, size, num_classes)
    parameters = sum(layer.parameters for layer in layers)
    macs = sum(layer.macs for layer in layers)
    most_parameters = max(layers, key=lambda layer: layer.parameters)
    most_macs = max(layer.macs for layer in layers)
    largest = join_words([f"`{layer.name}`" for layer in layers if layer.macs == most_macs])
    counted = ""
    if result.test and (result.parameters, result.macs) == (parameters, macs):
        counted = " The trained model, counted layer by layer, has the same two totals."
    section = Section(TITLE, lead=LEAD)
    section.blocks = [
        Prose(
            f"{origin} has {parameters:,} parameters. It needs {macs:,} multiply-accumulates (MACs) for one image "
            f"of {size} × {size} pixels. The layer with the most parameters is `{most_parameters.name}` "
            f"({percent(most_parameters.parameters / parameters)} of all). The most multiply-accumulates are in "
            f"{largest} ({percent(most_macs / macs)}{' each' if ' and ' in largest else ''}).{counted}"
        ),
        Details("Closed form", [_tabulate_closed_form(result.config.model, size, num_classes)]),
        Details("Layer by layer", [_tabulate_layers(layers)]),
    ]
    return section


def _find_network(data_set: DataSet) -> tuple[str, Result | None]:
    """Returns a CNN with its origin: the best from scratch, or with a teacher, or the newest sweep's best trial."""
    groups = data_set.find_groups("train-best") or data_set.find_groups(STUDENT)
    if groups:
        return f"`{groups[0].best.title}`", groups[0].best.result
    for sweep in data_set.sweeps:
        result = sweep.folder.trial_run(sweep.best.id).read_result() if sweep.best else None
        if result and not result.config.finetune:
            return f"The best trial of the sweep `{sweep.name}`", result
    return "", None


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
