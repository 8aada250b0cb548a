"""Attribution methods, which measure the importance of each pixel for the score of a class, and their own scores.

Each method takes a model, images and classes and explains the score (logit) of `classes` `(images,)` int for `images`
`(images, height, width, 3)` in [0, 255]. The model is a functional classifier with one image as its input. It is
unchanged. An attribution is `(images, height, width)` or `(images, height, width, 3)` float32.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage, stats

from keras_inat.explain import networks
from keras_inat.explain.guided_backpropagation import explain_predictions
from keras_inat.explain.prediction_maps import GRAY, MIN_CAM_SIDE, compute_occlusion_map
from keras_inat.store.explanations import (
    EDGES,
    GUIDED,
    GUIDED_CAM,
    INTEGRATED,
    NUM_STEPS,
    RANDOM,
    DeletionInsertion,
)

NUM_SMOOTH_SAMPLES = 20
SMOOTH_NOISE = 0.1  # standard deviation, as a fraction of the image's range
FIRST_STEPS = 8
MAX_STEPS = 512
TOLERANCE = 0.01
BLUR = 1 / 6  # standard deviation of the blur, as a fraction of the image's side
MIN_VARIATION = 0.1  # of a map that is not degenerate: standard deviation over the pixels, as a fraction of the mean
MIN_NONZERO = 0.01  # fraction of its pixels


def compute_grad_cam(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes Grad-CAM: Selvaraju et al. 2017, arXiv 1610.02391.

    The maps come from the last activation with at least 4 x 4 positions, because smaller ones localize poorly. For an
    ensemble, the maps of its networks are added. No value is negative.
    """
    layers = networks.find_spatial_activations(model)
    large = [layer for layer in layers if min(layer.output.shape[1:3]) >= MIN_CAM_SIDE]
    last = {}
    for layer in large or layers[-1:]:
        # In an ensemble, the names of the layers begin with that of their network.
        network = re.match(r"([a-z]+\d+_)block\d+_activation", layer.name)
        last[network[1] if network else ""] = layer.name
    logits_model = networks.build_logits_model(model)
    outputs = [logits_model.get_layer(name).output for name in last.values()]
    both = keras.Model(logits_model.inputs, [*outputs, logits_model.outputs[0]])

    @tf.function(reduce_retracing=True)
    def compute_heatmap(batch: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(batch)  # otherwise the tape records nothing below the first trainable layer
            *maps, logits = both([batch], training=False)
            scores = tf.gather(logits, labels, batch_dims=1)
        sums = []
        for gradient, activations in zip(tape.gradient(scores, maps), maps, strict=True):
            weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
            sums.append(tf.reduce_sum(weights * activations, -1, keepdims=True))
        return tf.image.resize(tf.nn.relu(tf.add_n(sums)), images.shape[1:3])[..., 0]

    return networks.map_batches(compute_heatmap, images, classes)


def compute_smooth_grad(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes SmoothGrad, the mean gradient over noisy versions of an image: Smilkov et al. 2017, arXiv 1706.03825."""
    differentiate = _build_gradient(model)
    rng = np.random.default_rng(0)
    means = []
    for image, label in zip(images, classes, strict=True):
        noise = rng.normal(0, SMOOTH_NOISE * np.ptp(image), (NUM_SMOOTH_SAMPLES, *image.shape))
        gradients, _ = networks.map_batches(differentiate, image + noise, np.full(NUM_SMOOTH_SAMPLES, label))
        means.append(gradients.mean(axis=0))
    return np.stack(means)


def compute_integrated_gradients(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes integrated gradients, the contribution of every pixel and channel: Sundararajan et al. 2017.

    See arXiv 1703.01365. The path is the straight line from a gray image. The steps of the trapezoidal rule are halved
    until there are 512, or until two conditions hold: halving them once more changed no attribution by more than 1 % of
    the largest, and the attributions add up to the difference between the two images' scores within 1 % of it.
    """
    differentiate = _build_gradient(model)
    return np.stack([_integrate_path(differentiate, *pair) for pair in zip(images, classes, strict=True)])


def compute_occlusion(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes occlusion maps; see `compute_occlusion_map`."""
    score = networks.trace_class_output(networks.build_logits_model(model))

    def measure(occluded: np.ndarray, label: int) -> np.ndarray:
        return networks.map_batches(score, occluded, np.full(len(occluded), label))

    pairs = zip(images, classes, strict=True)
    return np.stack([compute_occlusion_map(partial(measure, label=label), image) for image, label in pairs])


def compute_edges(images: np.ndarray) -> np.ndarray:
    """Computes the edges of images, a control that ignores the model."""
    brightness = images.astype(np.float32).mean(axis=-1)
    return np.stack([np.hypot(ndimage.sobel(image, axis=0), ndimage.sobel(image, axis=1)) for image in brightness])


def compute_attributions(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the attributions of all methods and of two controls that ignore the model, in the legend's order."""
    cam = compute_grad_cam(model, images, classes)
    guided = explain_predictions(model, images, classes)
    return {
        "Grad-CAM": cam,
        GUIDED_CAM: guided * cam[..., None],
        GUIDED: guided,
        "SmoothGrad": compute_smooth_grad(model, images, classes),
        INTEGRATED: compute_integrated_gradients(model, images, classes),
        "Occlusion": compute_occlusion(model, images, classes),
        EDGES: compute_edges(images),
        RANDOM: np.random.default_rng(0).random(images.shape[:3], np.float32),
    }


def compute_importance(method: str, attribution: np.ndarray) -> np.ndarray:
    """Reduces an attribution to one number per pixel, `(images, height, width)`. Higher is more important.

    Integrated gradients are added over the channels, because their signs have a meaning. Of other methods, the
    absolute values are added.
    """
    if attribution.ndim == 3:
        return attribution
    return attribution.sum(axis=-1) if method == INTEGRATED else np.abs(attribution).sum(axis=-1)


def randomize_weights(model: keras.Model) -> keras.Model:
    """Returns a logits model with the values of every weight in random order: a control of Adebayo et al. 2018.

    The layers keep the scale of their weights, and the moving statistics of batch normalization are unchanged.
    """
    rng = np.random.default_rng(0)
    copy = networks.build_logits_model(model)
    for weight in copy.weights:
        if "moving_" not in weight.path:
            values = weight.numpy()
            weight.assign(rng.permutation(values.ravel()).reshape(values.shape))
    return copy


def correlate_sizes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the rank correlation over the pixels of each pair of importance maps `(images, height, width)`.

    It is not a number if one of the maps is degenerate: uniform over the image, or zero but for a few pixels.
    """
    values = []
    for pair in zip(first, second, strict=True):
        degenerate = any(_is_degenerate(importance) for importance in pair)
        values.append(np.nan if degenerate else stats.spearmanr(*map(np.ravel, pair)).statistic)
    return np.array(values, np.float32)


def _is_degenerate(importance: np.ndarray) -> bool:
    is_uniform = importance.std() < MIN_VARIATION * np.abs(importance).mean()
    return bool(is_uniform or np.mean(importance != 0) < MIN_NONZERO)


def compute_deletion_insertion(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, maps: Mapping[str, np.ndarray]
) -> dict[str, DeletionInsertion]:
    """Computes the deletion and insertion curves of methods, given their maps from `compute_importance`."""
    images = images.astype(np.float32)
    sigma = BLUR * min(images.shape[1:3])
    blurred = ndimage.gaussian_filter(images, (0, sigma, sigma, 0))
    probability = networks.trace_class_output(networks.strip_model(model))
    bounds = np.linspace(0, np.prod(images.shape[1:3]), NUM_STEPS + 1)
    curves = {}
    for name, importances in maps.items():
        deletion = np.empty((len(images), NUM_STEPS + 1), np.float32)
        insertion = np.empty_like(deletion)
        for index, importance in enumerate(importances):
            rank = stats.rankdata(-importance, method="ordinal").reshape(*importance.shape, 1) - 1
            changed = rank < bounds[:, None, None, None]  # the pixels that are changed after each step
            labels = np.full(NUM_STEPS + 1, classes[index])
            deleted = np.where(changed, blurred[index], images[index])
            inserted = np.where(changed, images[index], blurred[index])
            deletion[index] = networks.map_batches(probability, deleted, labels)
            insertion[index] = networks.map_batches(probability, inserted, labels)
        curves[name] = DeletionInsertion(deletion, insertion)
    return curves


def _build_gradient(model: keras.Model) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function of images and classes: the gradients of the scores at the pixels, and the scores."""
    logits_model = networks.build_logits_model(model)

    def differentiate(batch: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            scores = tf.gather(logits_model([batch], training=False), labels, batch_dims=1)
        return tape.gradient(scores, batch), scores

    return networks.trace(differentiate, model)


def _integrate_path(differentiate: Callable[..., Any], image: np.ndarray, label: int) -> np.ndarray:
    line = image.astype(np.float32) - GRAY

    def evaluate(fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = GRAY + fractions[:, None, None, None].astype(np.float32) * line
        return networks.map_batches(differentiate, points, np.full(len(points), label))

    gradients, scores = evaluate(np.linspace(0, 1, FIRST_STEPS + 1))
    difference = scores[-1] - scores[0]
    attribution = line * np.trapezoid(gradients, dx=1 / FIRST_STEPS, axis=0)
    num_steps = FIRST_STEPS
    is_accurate = False
    while not is_accurate and num_steps < MAX_STEPS:
        gradients, _ = evaluate((np.arange(num_steps) + 0.5) / num_steps)
        finer = (attribution + line * gradients.mean(axis=0)) / 2
        change = np.abs(finer - attribution).max()
        error = abs(finer.sum(dtype=np.float64) - difference)
        is_accurate = change <= TOLERANCE * np.abs(finer).max() and error <= TOLERANCE * abs(difference)
        attribution = finer
        num_steps *= 2
    return attribution
