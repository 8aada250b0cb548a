"""Sentences and figures from the explanations of a trained model. TensorFlow is not needed for them."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from keras_inat.intervals import estimate_mean
from keras_inat.reporting.blocks import Block, Details, Heading, Prose, Table
from keras_inat.reporting.charts import attribution, filters
from keras_inat.reporting.formatting import MINUS, correlation, join_words, percent, plural, signed
from keras_inat.reporting.sections.attribution import describe_attributions, describe_predictions
from keras_inat.reporting.sections.explained_model import ExplainedModel
from keras_inat.reporting.statistics import explanations as statistics
from keras_inat.store.explanations import FEATURES, NeuronExplanation
from keras_inat.style import clip

NO_SAMPLE = "The run has no sample of validation images, so top activating patches and neurons are not shown."
MIN_CORRELATION = 0.3  # below it, maps hardly follow a feature


def describe_explanations(explained: ExplainedModel) -> list[Block]:
    """Returns the blocks of all explanations, in the order of the page. A sentence says why one is missing."""
    blocks: list[Block] = []
    for name, describe in DESCRIPTIONS.items():
        if name in explained.explanations.failures:
            blocks.append(Prose(f"Not available for this network: {explained.explanations.failures[name]}."))
        elif getattr(explained.explanations, name) is not None:
            blocks += [Heading(title)] if (title := HEADINGS.get(name)) else []
            blocks += describe(explained)
    if explained.sample is None:
        blocks.append(Prose(NO_SAMPLE))
    return blocks


def describe_first_layer(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the filters of the first convolution, and whether they differ from random weights."""
    kernels = explained.explanations.first_layer
    assert kernels is not None
    yield explained.add_figure(
        "filters",
        partial(filters.draw_first_layer_filters, kernels),
        "The filters of the first convolution, each as its weights and enlarged smoothly.",
        "First-layer filters, grouped by the component with most of their squared weights.",
    )
    if not np.any(kernels):
        yield Prose("All weights of the first convolution are zero.")
        return
    measures = statistics.compare_with_random(kernels)
    more = [measure.name for measure in measures if measure.value > measure.high]
    less = [measure.name for measure in measures if measure.value < measure.low]
    parts = [f"more {join_words(more)}" if more else "", f"less {join_words(less)}" if less else ""]
    if more or less:
        verdict = f"have {join_words([part for part in parts if part])} than random weights"
    else:
        verdict = "are not distinguishable from random weights by any of these measures"
    others = [measure.name for measure in measures if not measure.differs] if more or less else []
    rest = f" In {join_words(others)}, they are not distinguishable from them." if others else ""
    yield Prose(f"The {plural(len(kernels), 'first-layer filter')} {verdict}.{rest}")
    caption = (
        "Mean fraction of the squared weights in each component, and the smoothness: the mean product of adjacent "
        "weights, as a fraction of the mean square. Random: the range of "
        f"{statistics.NUM_RANDOM_SETS:,} sets of as many filters with normally distributed weights, in 95 of 100 cases "
        "for all rows together."
    )
    rows = []
    for measure in measures:
        digits = [f"{number:.3f}".replace("-", MINUS) for number in (measure.value, measure.low, measure.high)]
        verdict = "differs" if measure.differs else "not distinguishable"
        rows.append([measure.name, digits[0], f"{digits[1]} to {digits[2]}", verdict])
    table = Table(caption, "lrrl", ["measure", "these filters", "random", ""], rows)
    yield Details("First-layer filters compared with random weights", [table])


def describe_feature_maps(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the feature maps of the first example."""
    predictions = explained.predictions
    stages = explained.explanations.feature_maps
    assert stages is not None
    name = explained.run.data.classes[predictions.labels[predictions.examples[0]]]
    picture = explained.add_figure(
        "feature-maps",
        partial(filters.draw_feature_maps, predictions.pixels[0], stages),
        f"One test image ({name}) and its feature maps, block by block.",
        f"Feature maps of the first of the random test images above ({name}): the filters with the highest mean "
        "absolute activation, by index. The colors of each block go from its lowest to its highest values (0.5th to "
        "99.5th percentile).",
    )
    yield Details("Feature maps of every block", [picture])


def describe_responses(explained: ExplainedModel) -> Iterator[Block]:
    """Yields what the maps of each stage follow, in numbers."""
    responses = explained.explanations.responses
    assert responses is not None
    classes = statistics.measure_class_dependence(responses)
    rows = []
    edges = {}
    for stage, dependence in zip(responses, classes, strict=True):
        cells = []
        for index, feature in enumerate(FEATURES):
            values = stage.correlations[:, index]
            values = values[np.isfinite(values)]
            if len(values) < 2:
                cells.append("–")
                continue
            value, interval = correlation(estimate_mean(values.tolist(), "images"))
            cells.append(f"{value} ({interval})")
            if feature == "edges":
                edges[stage.layer] = float(values.mean())
        chance = f"{percent(dependence.value, 0)} (chance: up to {percent(dependence.high, 0)})"
        rows.append([stage.layer, *cells, chance])
    sentences = []
    if edges:
        most = max(edges, key=lambda layer: edges[layer])
        follow = "follow" if edges[most] >= MIN_CORRELATION else "hardly follow"
        sentence = f"The maps of `{most}` {follow} the edges of the image (mean correlation {signed(edges[most], 2)})"
        if len(edges) > 1:
            least = min(edges, key=lambda layer: edges[layer])
            sentence += f", those of `{least}` least ({signed(edges[least], 2)})"
        sentences.append(f"{sentence}.")
    dependent = [f"`{stage.name}` ({percent(stage.value, 0)})" for stage in classes if stage.exceeds_chance]
    if dependent:
        sentences.append(
            f"The class explains more of the differences between images than chance in {join_words(dependent)}."
        )
    else:
        sentences.append("In no block does the class explain more of the differences between images than chance.")
    yield Prose(" ".join(sentences))
    num = plural(len(responses[0].labels), "validation image")
    caption = (
        "Correlation, over the positions of an image, of the mean of all maps with the strength of edges, the color "
        f"saturation and the brightness; mean over {num} (95 % interval, not simultaneous; a dash: too few positions). "
        "Class: the fraction of the variance of a filter's mean activation that the class explains, the mean over the "
        "filters; chance is the same with permuted classes, in 95 of 100 cases for all blocks together."
    )
    table = Table(caption, "lrrrr", ["block", *FEATURES, "class"], rows)
    yield Details("Relation of the feature maps to edges, colors, brightness and classes", [table])


def describe_filters(explained: ExplainedModel) -> Iterator[Block]:
    """Yields filters of every stage with their synthetic images and their top activating patches."""
    explanations = explained.explanations.filters
    assert explanations is not None
    shown = sum(explanation.exceeds_patches for explanation in explanations)
    outcome = "a synthetic image reached more than every patch" if shown else "no synthetic image reached the patches"
    number = f" for {shown} of {plural(len(explanations), 'filter')}" if shown else ""
    picture = explained.add_figure(
        "top-patches",
        partial(filters.draw_top_patches, explanations),
        f"For {len(explanations)} filters of all stages, a synthetic image that maximizes the activation and the top "
        "activating patches.",
        f"Activation maximization, and top activating patches among {len(explained.images):,} validation images. A "
        "filter detects what the patches of its row have in common.",
    )
    yield Prose(f"Activation maximization: {outcome}{number}.")
    yield Details("Activation maximization and top activating patches", [picture])


def describe_neurons(explained: ExplainedModel) -> Iterator[Block]:
    """Yields neurons of the last block with their top activating images and guided gradients."""
    neurons = explained.explanations.neurons
    assert neurons is not None
    assert explained.sample is not None
    labels = explained.sample.labels
    names = explained.run.data.classes
    selective = explained.settings.neurons == "selective"
    choice = "the most selective ones, one per filter" if selective else "drawn at random from the active ones"
    number = plural(len(neurons), "neuron")
    num_images = len(neurons[0].images)
    shown = [index for neuron in neurons for index in neuron.images]
    shown_classes = [names[label] for label in labels[shown]]
    texts = [describe_selectivity(neuron, labels, names) for neuron in neurons]
    yield explained.add_figure(
        "neurons",
        partial(attribution.draw_neurons, explained.images[shown], shown_classes, neurons, texts),
        f"{number} of the last block: top activating images and their guided gradients.",
        f"{number} of the last block, {choice}. For each neuron, the figure shows the {num_images} of "
        f"{len(explained.images):,} validation images with the highest preactivation, and its guided gradients.",
    )
    responding = sum(responds_to_class(neuron, labels) for neuron in neurons)
    chance = statistics.count_agreeing_by_chance(labels, num_images, num_images // 2 + 1)
    verb = "responds" if responding == 1 else "respond"
    yield Prose(
        f"{responding} of {number} {verb} to one class: more than half of their {num_images} top images are of the "
        f"class with the highest mean activation. By chance, {chance * len(neurons):.1f} of {len(neurons)} would."
    )


def responds_to_class(neuron: NeuronExplanation, labels: np.ndarray) -> bool:
    """Returns True if more than half of the top images are of the preferred class."""
    return bool(2 * (labels[list(neuron.images)] == neuron.preferred_class).sum() > len(neuron.images))


def describe_selectivity(neuron: NeuronExplanation, labels: np.ndarray, names: "tuple[str, ...]") -> str:
    """Returns the class that a neuron responds to, as far as its top images bear it out, in three lines."""
    agreeing = int((labels[list(neuron.images)] == neuron.preferred_class).sum())
    name = names[neuron.preferred_class]
    if responds_to_class(neuron, labels):
        head = f"responds to\n{clip(name, 18)}"
    else:
        head = f"no single class\nmean: {clip(name, 14)}"
    return f"{head}\n{agreeing} of {len(neuron.images)} images\nselectivity {neuron.selectivity:.2f}"


HEADINGS = {
    "first_layer": "First-layer filters",
    "feature_maps": "Feature maps and activation maximization",
    "neurons": "Guided backpropagation of neurons",
    "attributions": "Attribution methods",
}
# The explanations in the order of the page.
DESCRIPTIONS: dict[str, Callable[[ExplainedModel], Iterator[Block]]] = {
    "first_layer": describe_first_layer,
    "feature_maps": describe_feature_maps,
    "responses": describe_responses,
    "filters": describe_filters,
    "neurons": describe_neurons,
    "predictions": describe_predictions,
    "attributions": describe_attributions,
}
