"""Filters and neurons of a trained model: weights, feature maps, top activating patches and guided gradients.

Imports of `keras_inat.explain` are local: a page without models needs no TensorFlow.
"""

from collections.abc import Iterator

import numpy as np

from keras_inat.report.blocks import Block, Prose
from keras_inat.report.formatting import percent, plural
from keras_inat.report.sections.explained_model import ExplainedModel

NUM_RANDOM_FILTERS = 2000
NUM_NEURONS = 10
NUM_IMAGES_PER_NEURON = 4


def show_first_layer_filters(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the weights of the first convolution, and the number of filters of each type."""
    from keras_inat.explain.filters import count_filter_types, order_filters, read_first_layer_filters
    from keras_inat.report.charts.explanations import draw_first_layer_filters

    filters = read_first_layer_filters(explained.model)
    order = explained.settings.filter_order
    yield explained.add_figure(
        "filters",
        draw_first_layer_filters(filters[order_filters(filters, order)], order),
        "The weights of the first convolution, one tile per filter.",
        "A tile with a gradient from dark to light detects edges across it. A tile with opposite colors detects a "
        "change of color. A tile of a single color detects that color.",
    )
    types = count_filter_types(filters)
    counts = ", ".join(f"{count} {name}" for name, count in types.items())
    without_weights = len(filters) - sum(types.values())
    if without_weights:
        counts += f"; {without_weights} {'has' if without_weights == 1 else 'have'} no weights"
    random = np.random.default_rng(0).normal(size=(NUM_RANDOM_FILTERS, *filters.shape[1:]))
    name, count = next(iter(count_filter_types(random).items()))
    fraction = percent(count / NUM_RANDOM_FILTERS, 0)
    yield Prose(
        f"The {plural(len(filters), 'filter')} by the component with most of their squared weights: {counts}. Of "
        f"{NUM_RANDOM_FILTERS:,} filters of this size with random weights, {fraction} are of the type “{name}”."
    )


def show_feature_maps(explained: ExplainedModel) -> Iterator[Block]:
    """Yields the feature maps of the first example."""
    from keras_inat.explain.feature_maps import compute_feature_maps
    from keras_inat.report.charts.explanations import draw_feature_maps

    predictions = explained.predictions
    image = predictions.pixels[0]
    name = explained.run.data.classes[predictions.labels[predictions.examples[0]]]
    yield explained.add_figure(
        "feature-maps",
        draw_feature_maps(image, compute_feature_maps(explained.model, image)),
        f"One test image ({name}) and its feature maps, block by block.",
        f"Feature maps of the first of the random test images above ({name}), block by block. Bright: high activation.",
    )


def show_top_patches(explained: ExplainedModel) -> Iterator[Block]:
    """Yields filters of every stage with their synthetic images and their top activating patches."""
    from keras_inat.explain.top_patches import explain_filters
    from keras_inat.report.charts.explanations import draw_top_patches

    images = explained.sample.pixels
    filters = explain_filters(explained.model, images)
    if not filters:
        raise ValueError(f"no filter is active on any of {len(images):,} validation images")
    yield explained.add_figure(
        "top-patches",
        draw_top_patches(filters),
        f"For {len(filters)} filters of all stages, a synthetic image that maximizes the activation and the top "
        "activating patches.",
        f"Filters of every stage with their top activating patches among {len(images):,} validation images. A filter "
        "detects what the patches of its row have in common.",
    )


def show_neurons(explained: ExplainedModel) -> Iterator[Block]:
    """Yields neurons of the last block with their top activating images and guided gradients."""
    from keras_inat.explain.neurons import explain_neurons
    from keras_inat.report.charts.explanations import draw_neurons

    sample = explained.sample
    selective = explained.settings.neurons == "selective"
    neurons = explain_neurons(
        explained.model,
        sample.pixels,
        NUM_NEURONS,
        NUM_IMAGES_PER_NEURON,
        labels=sample.labels,
        most_selective=selective,
    )
    num_images = len(sample.pixels)
    if not neurons:
        raise ValueError(f"no neuron of the last block is active on any of {num_images:,} validation images")
    choice = "the most selective ones, one per filter" if selective else "drawn at random from the active ones"
    number = plural(len(neurons), "neuron")
    yield explained.add_figure(
        "neurons",
        draw_neurons(sample.pixels, neurons, explained.run.data.classes),
        f"{number} of the last block: top activating images and their guided gradients.",
        f"{number} of the last block, {choice}. For each neuron, the figure shows the {len(neurons[0].images)} of "
        f"{num_images:,} validation images with the highest activation, and the guided gradients of this activation.",
    )
