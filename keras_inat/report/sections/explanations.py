"""What a trained model sees: filters, what excites them, guided gradients and other explanations, and how they fare."""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import keras_inat
from keras_inat import intervals, plotting
from keras_inat.errors import is_out_of_memory
from keras_inat.progress import hide_startup_messages
from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Prose, Table
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent, plural
from keras_inat.report.groups import Predictions, Record
from keras_inat.report.statistics import correlation, estimates
from keras_inat.report.statistics.correlation import correlate_ranks
from keras_inat.report.statistics.estimates import Estimate, estimate_mean
from keras_inat.settings.schema import Report

NUM_NEURONS, NUM_GUIDED, NUM_ROWS, NUM_SCORED = 10, 10, 6, 12
NUM_DRAWN = 2000  # filters at random, to compare with


@dataclass(frozen=True)
class Subject:
    """A model, what its run kept, and where the pictures go; `sample` as of `Record.read_sample`."""

    record: Record
    predictions: Predictions
    sample: Any
    figures: FigureFolder
    settings: Report
    model: Any


def look_inside(record: Record, predictions: Predictions, figures: FigureFolder, settings: Report) -> list[Block]:
    """Pictures of a model, each with a caption; where one cannot be made, a sentence that says why.

    They take a minute, and are kept in the run's folder for as long as all that makes them stays the same, unless
    something could not be shown.
    """
    if not record.folder.model.exists():
        return [Prose(f"`{record.folder.path.name}/best.keras` is not on disk, so the model cannot be looked into.")]
    kept = record.folder.path / "pictures" / _identify(record, settings)
    blocks = figures.recall(kept)
    if blocks is None:
        print(f"looking into {record.folder.path}", flush=True)
        blocks, whole = _look(record, predictions, figures, settings)
        if whole:
            figures.keep(kept, blocks)
    return blocks


def _identify(record: Record, settings: Report) -> str:
    """Tells what the pictures depend on: the run's files, the settings, and the code that makes them."""
    modules = (plotting, intervals, correlation, estimates, formatting)
    home = Path(keras_inat.__file__).parent
    code = [*home.glob("explain/*.py"), home / "models/clone.py", *(Path(str(module.__file__)) for module in modules)]
    code += [home / "report/charts/explanations.py", home / "report/charts/tiles.py"]
    parts = [path.read_bytes() for path in sorted([*code, Path(__file__)])]
    files = [
        path.stat() for path in (record.folder.model, record.folder.predictions, record.folder.sample) if path.exists()
    ]
    told = (
        settings.filter_order, settings.neurons, record.data["name"], record.data["classes"],
        [(file.st_size, file.st_mtime_ns) for file in files],
        [importlib.metadata.version(name) for name in ("keras", "tf-keras-vis", "matplotlib")],
    )  # fmt: skip
    return hashlib.sha256(b"".join([repr(told).encode(), *parts])).hexdigest()[:16]


def _look(
    record: Record, predictions: Predictions, figures: FigureFolder, settings: Report
) -> tuple[list[Block], bool]:
    """The blocks, and whether everything could be shown."""
    # Keras takes seconds to import: a page without models does without.
    with hide_startup_messages():
        import keras
    try:
        model = keras.models.load_model(record.folder.model, compile=False)
    except Exception as error:  # whatever a damaged archive, or one of another version, leads Keras into
        return [Prose(f"The model could not be opened: {_one_line(error)}.")], False
    sample = record.read_sample()
    it = Subject(record, predictions, sample, figures, settings, model)
    makers = [_show_filters, _show_maps, _show_guided_predictions]
    if sample is not None:
        makers[2:2] = [_show_preferences, _show_neurons]
        makers.append(_show_evidence)
    blocks, whole = list[Block](), sample is not None
    for make in makers:
        try:
            blocks += make(it)
        except Exception as error:
            # An architecture without what is to be shown, or one too large for this machine.
            if not isinstance(error, ValueError) and not is_out_of_memory(error):
                raise
            whole = False
            blocks.append(Prose(f"Not shown for this network: {_one_line(error)}."))
    if sample is None:
        missing = "The run kept no validation images, so what excites its filters and neurons is not shown."
        blocks.append(Prose(missing))
    return blocks, whole


def _show_filters(it: Subject) -> Iterator[Block]:
    from keras_inat.explain.filters import count_filter_types, order_filters, read_first_layer_filters
    from keras_inat.report.charts.explanations import draw_first_layer_filters

    filters, order = read_first_layer_filters(it.model), it.settings.filter_order
    yield it.figures.add(
        f"{it.record.command}-filters",
        draw_first_layer_filters(filters[order_filters(filters, order)], order),
        "The weights of the first convolution, one tile a filter.",
        "A tile with a gradient from dark to light answers to edges across it, one with opposite colours to a change "
        "of colour, one of a single tint to that colour.",
    )
    kinds = count_filter_types(filters)
    counted = ", ".join(f"{count} {what}" for what, count in kinds.items())
    if silent := len(filters) - sum(kinds.values()):
        counted += f"; {silent} {'has' if silent == 1 else 'have'} no weights"
    drawn = np.random.default_rng(0).normal(size=(NUM_DRAWN, *filters.shape[1:]))
    what, count = next(iter(count_filter_types(drawn).items()))
    yield Prose(
        f"What the {plural(len(filters), 'filter')} answer to most, by where the largest part of their squared weights "
        f"lies: {counted}. Of {NUM_DRAWN:,} filters of this size with weights at random, "
        f"{percent(count / NUM_DRAWN, 0)} answer to {what}."
    )


def _show_maps(it: Subject) -> Iterator[Block]:
    from keras_inat.explain.feature_maps import compute_feature_maps
    from keras_inat.report.charts.explanations import draw_feature_maps

    example, true = it.predictions.pixels[0], it.predictions.labels[it.predictions.examples[0]]
    name = it.record.data["classes"][true]
    yield it.figures.add(
        f"{it.record.command}-maps",
        draw_feature_maps(example, compute_feature_maps(it.model, example)),
        f"One test image ({name}) and what each block makes of it.",
        f"The first of the random test images above ({name}), block by block. What is bright excites a filter.",
    )


def _show_preferences(it: Subject) -> Iterator[Block]:
    from keras_inat.explain.top_patches import explain_filters
    from keras_inat.report.charts.explanations import draw_top_patches

    images, _ = it.sample
    found = explain_filters(it.model, images)
    if not found:
        raise ValueError(f"none of {len(images):,} validation images excites any filter")
    yield it.figures.add(
        f"{it.record.command}-preferences",
        draw_top_patches(found),
        f"For {len(found)} filters of all stages an image made to excite it, and the patches that do so most.",
        f"What filters of every stage look for, among {len(images):,} validation images: what the patches of a row "
        "share.",
    )


def _show_neurons(it: Subject) -> Iterator[Block]:
    from keras_inat.explain.neurons import explain_neurons
    from keras_inat.report.charts.explanations import draw_neurons

    images, labels = it.sample
    selective = it.settings.neurons == "selective"
    found = explain_neurons(it.model, images, NUM_NEURONS, 4, labels=labels, most_selective=selective)
    if not found:
        raise ValueError(f"none of {len(images):,} validation images excites any neuron of the last block")
    which = "the most selective ones, one a filter" if selective else "drawn at random from those that so many excite"
    number = plural(len(found), "neuron")
    yield it.figures.add(
        f"{it.record.command}-guided",
        draw_neurons(images, found, it.record.data["classes"]),
        f"{number} of the last block: the images that excite each most, and their guided gradients.",
        f"{number} of the last block, {which}; for each the {len(found[0].images)} of {len(images):,} validation "
        "images that excite it most, and the pixels that do.",
    )


def _show_guided_predictions(it: Subject) -> Iterator[Block]:
    from keras_inat.explain.guided_backpropagation import explain_predictions
    from keras_inat.report.charts.explanations import draw_guided_predictions

    rows, images = it.predictions.examples[:NUM_GUIDED], it.predictions.pixels[:NUM_GUIDED]
    titles = []
    for row in rows:
        classes = [
            it.record.data["classes"][label] for label in (it.predictions.labels[row], it.predictions.predicted[row])
        ]
        true, taken = (plotting.clip(name, 18) for name in classes)
        sure = percent(float(it.predictions.probabilities[row].max()), 0)
        titles.append(f"✓ {true}, {sure}" if it.predictions.correct[row] else f"✗ {true} taken for {taken}, {sure}")
    yield it.figures.add(
        f"{it.record.command}-guided-predictions",
        draw_guided_predictions(images, explain_predictions(it.model, images), titles),
        f"{len(rows)} test images, each beside the guided gradient of its predicted class.",
        f"The first {len(rows)} of the random test images above, and the pixels that speak for the predicted class.",
    )


def _show_evidence(it: Subject) -> Iterator[Block]:
    from keras_inat.explain.attribution import compute_attributions, compute_importance, randomize_weights
    from keras_inat.explain.deletion_insertion import compute_deletion_insertion
    from keras_inat.explain.guided_backpropagation import explain_predictions
    from keras_inat.report.charts.explanations import CONTROLS, draw_deletion_insertion
    from keras_inat.report.charts.tiles import draw_grid, overlay_heatmap, scale_gradient, scale_pixels

    if len(it.sample[1]) < 2:
        raise ValueError("a single validation image tells nothing about methods")
    images, labels = (part[np.random.default_rng(1).permutation(len(it.sample[1]))[:NUM_SCORED]] for part in it.sample)
    probabilities = np.asarray(it.model(images.astype(np.float32), training=False), dtype=np.float32)
    predicted = probabilities.argmax(axis=1)
    explained = compute_attributions(it.model, images, predicted)
    maps = {name: compute_importance(name, attribution) for name, attribution in explained.items()}
    guided, focused = explained["Guided backpropagation"], explained["Guided Grad-CAM"]
    control = explain_predictions(randomize_weights(it.model), images, predicted)
    rows = []
    for index in range(min(NUM_ROWS, len(images))):
        name, sure = it.record.data["classes"][predicted[index]], percent(float(probabilities[index].max()), 0)
        mark = "✓" if predicted[index] == labels[index] else "✗"
        overlays = [
            overlay_heatmap(images[index], maps[method][index])
            for method in ("SmoothGrad", "Integrated gradients", "Grad-CAM", "Occlusion")
        ]
        gradients = [scale_gradient(gradient[index]) for gradient in (guided, control, focused)]
        rows.append((f"{mark} {plotting.clip(name, 16)}\n{sure}", [scale_pixels(images[index]), *gradients, *overlays]))
    columns = ["image", "guided", "guided,\nshuffled\nweights", "Guided\nGrad-CAM", "SmoothGrad"]
    columns += ["Integrated\ngradients", "Grad-CAM", "Occlusion"]
    caption = (
        "Grey pictures: more or less of the colour of a pixel raises the score of the class. SmoothGrad: the brighter, "
        "the more the score depends on the pixel; the last three: the more the pixel raises it. Third: guided "
        "gradients of the network with the numbers of each of its weights in random order: what they have in common "
        "with the second picture is not what was learned."
    )
    yield it.figures.add(
        f"{it.record.command}-evidence",
        draw_grid("What speaks for the predicted class, by several methods", columns, rows, caption),
        f"{len(rows)} validation images, each with seven explanations of its predicted class.",
        f"Random validation images. {_liken(guided, control)}",
    )
    curves = compute_deletion_insertion(it.model, images, predicted, maps)
    yield it.figures.add(
        f"{it.record.command}-fidelity",
        draw_deletion_insertion(curves),
        "Probability of the predicted class while pixels are blurred, or come back, in the order each method gives.",
        f"Whether the pixels that a method names are those that the model uses, on {len(images)} validation images: "
        "they are replaced by a blurred image, or put back into it, most important first (Petsiuk et al. 2018).",
    )
    yield from _compare_methods({name: curve.scores for name, curve in curves.items()}, CONTROLS)


def _liken(guided: np.ndarray, control: np.ndarray) -> str:
    """How alike gradients are to those with shuffled weights, pixel by pixel."""
    sizes = (np.abs(gradients).sum(axis=-1).reshape(len(gradients), -1) for gradients in (guided, control))
    # Of an image without any gradient there is nothing to say.
    pairs = [pair for pair in zip(*sizes, strict=True) if all(np.ptp(side) for side in pair)]
    if len(pairs) < 2:
        return ""
    value, between = formatting.correlation(_average([correlate_ranks(*pair).value for pair in pairs]))
    return (
        f"The sizes of the guided gradients and of those with shuffled weights have a rank correlation of {value} "
        f"(95 % interval {between}, n = {len(pairs)} images): the nearer to one, the less of such a picture comes "
        "from what was learned."
    )


def _compare_methods(scores: dict[str, np.ndarray], controls: Any) -> Iterator[Block]:
    """A table of the methods, and what their intervals support."""
    from keras_inat.explain.attribution import RANDOM

    chance = scores[RANDOM]
    gains = {name: _average(values - chance) for name, values in scores.items() if name != RANDOM}
    order = sorted(gains, key=lambda name: -gains[name].value)
    areas = {name: formatting.signed(float(values.mean()), 2) for name, values in scores.items()}
    rows = [[name, areas[name], *formatting.correlation(gains[name])] for name in order]
    yield Table(
        "Area between the two curves, the larger the better, and its difference from pixels in random order; "
        f"n{formatting.SPACE}={formatting.SPACE}{plural(len(chance), 'image')}. Each interval stands by itself: one in "
        "twenty would exclude zero by chance.",
        "lrrr",
        ["method", "area", "against random", "95 % interval"],
        [*rows, [RANDOM, areas[RANDOM], "", ""]],
    )
    better = [name for name in order if gains[name].low > 0 and name not in controls]
    others = [name for name in order if name not in better and name not in controls]
    said = f"Better than pixels at random: {', '.join(better)}. " if better else ""
    said += f"Not shown to be better on so few images: {', '.join(others)}." if others else ""
    yield Prose(said.strip())


def _average(values: Any) -> Estimate:
    return estimate_mean([float(value) for value in values], "images")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
