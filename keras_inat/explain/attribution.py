"""Attribution methods: the importance of each pixel for the score of a class.

Each method takes a model, images and classes and explains the score (logit) of `classes` `(images,)` int for `images`
`(images, height, width, 3)` in [0, 255]. The model is a functional classifier with one image as its input. It is
unchanged.
"""

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from keras_inat.explain.activations import find_spatial_activations
from keras_inat.explain.batches import BATCH_SIZE, map_batches, trace, trace_class_output
from keras_inat.explain.guided_backpropagation import explain_predictions
from keras_inat.explain.logits import build_logits_model, copy_model

INTEGRATED = "Integrated gradients"
EDGES = "Image edges"
RANDOM = "Random order"
GRAY = 127.5
MIN_CAM_SIDE = 4
NUM_SMOOTH_SAMPLES = 20
SMOOTH_NOISE = 0.1  # standard deviation, as a fraction of the image's range
FIRST_STEPS = 8
MAX_STEPS = 512
TOLERANCE = 0.01


def compute_grad_cam(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes Grad-CAM: Selvaraju et al. 2017, arXiv 1610.02391.

    The maps come from the last activation with at least 4 x 4 positions, because smaller ones localize poorly. For an
    ensemble, the maps of its networks are added.

    Returns:
        `(images, height, width)` float32, not negative.

    Raises:
        ValueError: If the model has no activation with rows and columns.
    """
    names = [layer.name for layer in _find_cam_layers(model)]
    logits_model = build_logits_model(model)
    outputs = [logits_model.get_layer(name).output for name in names]
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

    return map_batches(compute_heatmap, images, classes)


def compute_smooth_grad(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes SmoothGrad: Smilkov et al. 2017, arXiv 1706.03825.

    The result is the mean gradient over 20 noisy versions of an image. The standard deviation of the noise is a tenth
    of the image's range.

    Returns:
        `(images, height, width, 3)` float32.
    """
    differentiate = _build_gradient(model)
    rng = np.random.default_rng(0)
    means = []
    for image, label in zip(images, classes, strict=True):
        noise = rng.normal(0, SMOOTH_NOISE * np.ptp(image), (NUM_SMOOTH_SAMPLES, *image.shape))
        gradients, _ = map_batches(differentiate, image + noise, np.full(NUM_SMOOTH_SAMPLES, label))
        means.append(gradients.mean(axis=0))
    return np.stack(means)


def compute_integrated_gradients(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, tolerance: float = TOLERANCE
) -> np.ndarray:
    """Computes integrated gradients: Sundararajan et al. 2017, arXiv 1703.01365.

    The path is the straight line from a gray image, and the integral follows the trapezoidal rule with adaptive steps.
    The steps with the largest errors are halved until two conditions hold, or until there are 512 steps: the
    attributions add up to the difference between the score of the image and that of the gray image within `tolerance`
    of it, and the absolute errors of the steps add up to at most ten times as much.

    Returns:
        `(images, height, width, 3)` float32, the contribution of every pixel and channel to the score.
    """
    differentiate = _build_gradient(model)
    pairs = zip(np.asarray(images, dtype=np.float32), classes, strict=True)
    return np.stack([_integrate_path(differentiate, image, label, tolerance) for image, label in pairs])


def compute_occlusion(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes the occlusion map: Zeiler and Fergus 2014, arXiv 1311.2901.

    A gray square with a quarter of the image's side moves over the image. The value of a pixel is the mean decrease of
    the score over the squares that cover it.

    Returns:
        `(images, height, width)` float32.
    """
    images = np.asarray(images, dtype=np.float32)
    height, width = images.shape[1:3]
    size = max(1, min(height, width) // 4)
    corners = [(top, left) for top in _spread(height - size) for left in _spread(width - size)]
    squares = [np.s_[top : top + size, left : left + size] for top, left in corners]
    score = trace_class_output(build_logits_model(model))
    decreases = np.zeros(images.shape[:3], np.float32)
    covers = np.zeros((height, width), np.float32)
    for square in squares:
        covers[square] += 1
    for image, label, decrease in zip(images, classes, decreases, strict=True):
        occluded = np.repeat(image[None], len(squares) + 1, axis=0)
        for version, square in zip(occluded[1:], squares, strict=True):
            version[square] = GRAY
        whole, *scores = map_batches(score, occluded, np.full(len(occluded), label))
        for value, square in zip(scores, squares, strict=True):
            decrease[square] += whole - value
    return decreases / np.maximum(covers, 1)


def compute_edges(images: np.ndarray) -> np.ndarray:
    """Computes the edges of images, a control that ignores the model: `(images, height, width)` float32."""
    brightness = np.asarray(images, dtype=np.float32).mean(axis=-1)
    return np.stack([np.hypot(ndimage.sobel(image, axis=0), ndimage.sobel(image, axis=1)) for image in brightness])


def compute_attributions(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the attributions of all methods and of two controls that ignore the model.

    Returns:
        `(images, height, width)` or `(images, height, width, 3)` float32 by method, in the order of the legend.
    """
    cam = compute_grad_cam(model, images, classes)
    guided = explain_predictions(model, images, classes)
    return {
        "Grad-CAM": cam,
        "Guided Grad-CAM": guided * cam[..., None],
        "Guided backpropagation": guided,
        "SmoothGrad": compute_smooth_grad(model, images, classes),
        INTEGRATED: compute_integrated_gradients(model, images, classes),
        "Occlusion": compute_occlusion(model, images, classes),
        EDGES: compute_edges(images),
        RANDOM: np.random.default_rng(0).random(images.shape[:3], np.float32),
    }


def compute_importance(method: str, attribution: np.ndarray) -> np.ndarray:
    """Reduces the attribution of a method to one number per pixel, `(images, height, width)`; higher is more important.

    Integrated gradients are added over the channels, because their signs have a meaning. Of other methods, the
    absolute values are added.
    """
    if attribution.ndim == 3:
        return attribution
    return attribution.sum(axis=-1) if method == INTEGRATED else np.abs(attribution).sum(axis=-1)


def randomize_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Returns a copy of a model with the values of every weight in random order: a control of Adebayo et al. 2018.

    The layers keep the scale of their weights. The moving statistics of batch normalization are unchanged.
    """
    rng = np.random.default_rng(seed)
    copy = copy_model(model)
    for weight in copy.weights:
        if "moving_" not in weight.path:
            values = weight.numpy()
            weight.assign(rng.permutation(values.ravel()).reshape(values.shape))
    return copy


def _find_cam_layers(model: keras.Model) -> list[Any]:
    """Returns the last activation with 4 x 4 positions of each network of an ensemble, or else the last of any size."""
    layers = find_spatial_activations(model)
    large = [layer for layer in layers if min(layer.output.shape[1:3]) >= MIN_CAM_SIDE]
    last = {}
    for layer in large or layers[-1:]:
        # In an ensemble, the names of the layers begin with that of their network.
        network = re.match(r"([a-z]+\d+_)block\d+_activation", layer.name)
        last[network[1] if network else ""] = layer
    return list(last.values())


def _build_gradient(model: keras.Model) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function of images and classes: the gradients of the scores at the pixels, and the scores."""
    logits_model = build_logits_model(model)

    def differentiate(batch: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            scores = tf.gather(logits_model([batch], training=False), labels, batch_dims=1)
        return tape.gradient(scores, batch), scores

    return trace(differentiate, model)


def _integrate_path(differentiate: Callable[..., Any], image: np.ndarray, label: int, tolerance: float) -> np.ndarray:
    """Computes the integrated gradients of one image."""
    line = image - GRAY

    def evaluate(fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = GRAY + fractions[:, None, None, None].astype(np.float32) * line
        return map_batches(differentiate, points, np.full(len(points), label))

    fractions = np.linspace(0, 1, FIRST_STEPS + 1)
    gradients, scores = evaluate(fractions)
    while True:
        slopes = np.einsum("nhwc,hwc->n", gradients, line, dtype=np.float64)
        errors = (slopes[1:] + slopes[:-1]) / 2 * np.diff(fractions) - np.diff(scores)
        allowed = tolerance * abs(scores[-1] - scores[0])
        accurate = abs(errors.sum()) <= allowed and np.abs(errors).sum() <= 10 * allowed
        if accurate or len(errors) >= MAX_STEPS:
            break
        worst = np.sort(np.argsort(-np.abs(errors))[: BATCH_SIZE // 2])
        middles = (fractions[worst] + fractions[worst + 1]) / 2
        new_gradients, new_scores = evaluate(middles)
        fractions = np.insert(fractions, worst + 1, middles)
        scores = np.insert(scores, worst + 1, new_scores)
        gradients = np.insert(gradients, worst + 1, new_gradients, axis=0)
    steps = np.diff(fractions, prepend=0, append=1)
    weights = (steps[1:] + steps[:-1]).astype(np.float32) / 2
    return line * np.einsum("n,nhwc->hwc", weights, gradients)


def _spread(last: int) -> list[int]:
    """Returns up to nine integers, evenly spaced from 0 to `last`."""
    return sorted({round(last * step / 8) for step in range(9)})
