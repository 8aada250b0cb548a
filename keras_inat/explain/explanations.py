"""All explanations of a trained model as one record."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_inat.errors import is_out_of_memory
from keras_inat.explain import attribution
from keras_inat.explain.filters import compute_feature_maps, explain_filters, read_first_layer_filters
from keras_inat.explain.guided_backpropagation import explain_neurons, explain_predictions, normalize_gradients
from keras_inat.explain.networks import map_batches
from keras_inat.explain.responses import measure_responses
from keras_inat.store.explanations import GUIDED, GUIDED_CAM, SHUFFLED, Attributions, Explanations
from keras_inat.store.predictions import Predictions, ValidationSample

NUM_GUIDED = 10
NUM_SHOWN = 6  # images with their attributions
NUM_SCORED = (12, 48)  # images that compare the attribution methods: at least and at most
SCORED_MACS = 5e8  # of the images together, a minute on two cores
HEATMAPS = ("SmoothGrad", "Integrated gradients", "Grad-CAM", "Occlusion")


def compute_explanations(
    model: keras.Model, predictions: Predictions, sample: ValidationSample | None, macs: int, most_selective: bool
) -> Explanations:
    """Computes the explanations of a model with `macs` multiply-accumulates per image.

    Without a sample of validation images, only those that need none. `most_selective` chooses the neurons; see
    `explain_neurons`.
    """
    steps: dict[str, Callable[[], Any]] = {
        "first_layer": partial(read_first_layer_filters, model),
        "feature_maps": partial(compute_feature_maps, model, predictions.pixels[0]),
        "predictions": lambda: normalize_gradients(explain_predictions(model, predictions.pixels[:NUM_GUIDED])),
    }
    if sample is not None:
        num_scored = int(np.clip(SCORED_MACS // macs, *NUM_SCORED))
        steps |= {
            "responses": partial(measure_responses, model, sample.pixels, sample.labels),
            "filters": partial(explain_filters, model, sample.pixels),
            "neurons": partial(
                explain_neurons, model, sample.pixels, sample.labels, most_selective=most_selective
            ),
            "attributions": partial(explain_attributions, model, sample.pixels, num_scored),
        }  # fmt: skip
    parts = {}
    failures = {}
    lacked_memory = False
    for name, compute in steps.items():
        try:
            parts[name] = compute()
        except Exception as error:
            # The network has no filters, for example, or it is too large for this machine.
            if not isinstance(error, ValueError) and not is_out_of_memory(error):
                raise
            lacked_memory = lacked_memory or is_out_of_memory(error)
            failures[name] = shorten(error)
    return Explanations(**parts, failures=failures, lacked_memory=lacked_memory)


def explain_attributions(model: keras.Model, images: np.ndarray, num_scored: int) -> Attributions:
    """Explains the predicted classes of at most `num_scored` random images by all methods, and scores the methods."""
    if len(images) < 2:
        raise ValueError("a single validation image is too few to compare attribution methods")
    chosen = np.random.default_rng(1).permutation(len(images))[:num_scored]
    images = images[chosen]
    probabilities = map_batches(partial(model, training=False), images)
    predicted = probabilities.argmax(axis=1)
    attributions = attribution.compute_attributions(model, images, predicted)
    control = explain_predictions(attribution.randomize_weights(model), images, predicted)
    maps = {name: attribution.compute_importance(name, values) for name, values in attributions.items()}
    gradients = {
        GUIDED: attributions[GUIDED],
        SHUFFLED: control,
        GUIDED_CAM: attributions[GUIDED_CAM],
    }
    return Attributions(
        images=chosen,
        predicted=predicted,
        confidences=probabilities.max(axis=1),
        gradients={name: normalize_gradients(values[:NUM_SHOWN]) for name, values in gradients.items()},
        heatmaps={name: normalize_gradients(maps[name][:NUM_SHOWN]) for name in HEATMAPS},
        shuffled_correlations=attribution.correlate_sizes(
            maps[GUIDED], attribution.compute_importance(GUIDED, control)
        ),
        curves=attribution.compute_deletion_insertion(model, images, predicted, maps),
    )


def shorten(error: Exception) -> str:
    """Returns the message of an error on one line of at most 300 characters, without its full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")
