"""Which pixels speak for a class, by several methods, each a function of model, images and classes.

All explain the scores (logits) of `classes` `(images,)` int, for `images` `(images, height, width, 3)` in [0, 255];
the model, a functional classifier with one image as its input, stays as it is.
"""

import re
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from keras_inat.explain.activations import (
    BATCH_SIZE,
    build_scorer,
    copy_model,
    find_spatial_activations,
    map_batches,
    trace_score,
)
from keras_inat.explain.guided import explain_predictions

INTEGRATED = "Integrated gradients"
GREY = 127.5
MIN_CAM_SIDE = 4
NUM_SMOOTH_SAMPLES, SMOOTH_NOISE = 20, 0.1
FIRST_STEPS, MAX_STEPS, TOLERANCE = 8, 512, 0.01


def grad_cam(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Grad-CAM: Selvaraju et al. 2017, arXiv 1610.02391.

    Of the last activation of at least 4 x 4 positions: fewer tell little of where. Of several networks side by side,
    the sum over that of each.

    Returns:
        `(images, height, width)` float32, not negative.

    Raises:
        ValueError: When the model has no activation with rows and columns.
    """
    found = find_spatial_activations(model)
    large = [layer for layer in found if min(layer.output.shape[1:3]) >= MIN_CAM_SIDE] or found[-1:]
    # A dictionary keeps the last layer of each network.
    names = {re.sub(r"^(tower\d+_)?.*", r"\1", layer.name): layer.name for layer in large}.values()
    scorer = build_scorer(model)
    both = keras.Model(scorer.inputs, [*(scorer.get_layer(name).output for name in names), scorer.outputs[0]])

    @tf.function(reduce_retracing=True)
    def weigh(batch: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(batch)  # else nothing is recorded below the layers that may train
            *maps, scores = both([batch], training=False)
            chosen = tf.gather(scores, part, batch_dims=1)
        weights = [tf.reduce_mean(slope, axis=(1, 2), keepdims=True) for slope in tape.gradient(chosen, maps)]
        sums = [tf.reduce_sum(weight * part_, -1, keepdims=True) for weight, part_ in zip(weights, maps, strict=True)]
        return tf.image.resize(tf.nn.relu(tf.add_n(sums)), images.shape[1:3])[..., 0]

    return map_batches(weigh, images, classes)


def smooth_gradients(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """SmoothGrad: Smilkov et al. 2017, arXiv 1706.03825.

    The mean gradient over twenty copies of an image, with noise of a tenth of its range.

    Returns:
        `(images, height, width, 3)` float32.
    """
    differentiate, rng = _build_gradient(build_scorer(model)), np.random.default_rng(0)
    means = []
    for image, label in zip(images, classes, strict=True):
        noise = rng.normal(0, SMOOTH_NOISE * np.ptp(image), (NUM_SMOOTH_SAMPLES, *image.shape))
        means.append(map_batches(differentiate, image + noise, np.full(NUM_SMOOTH_SAMPLES, label))[0].mean(axis=0))
    return np.stack(means)


def integrate_gradients(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, tolerance: float = TOLERANCE
) -> np.ndarray:
    """Integrated gradients: Sundararajan et al. 2017, arXiv 1703.01365.

    Along the straight line from a grey image, by the trapezoidal rule. The steps whose areas are furthest from what
    the score gains over them are halved, until all parts add up to the score less that of grey but for `tolerance` of
    it, and what the steps are off by, whatever their signs, for ten times that; or there are 512.

    Returns:
        `(images, height, width, 3)` float32, the part of every pixel and colour in the score.
    """
    differentiate = _build_gradient(build_scorer(model))
    parts = []
    for image, label in zip(np.asarray(images, dtype=np.float32), classes, strict=True):
        line = image - GREY

        def follow(shares: np.ndarray, line: np.ndarray = line, label: int = label) -> tuple[np.ndarray, np.ndarray]:
            path = GREY + shares[:, None, None, None].astype(np.float32) * line
            return map_batches(differentiate, path, np.full(len(path), label))

        shares = np.linspace(0, 1, FIRST_STEPS + 1)
        gradients, scores = follow(shares)
        while True:
            slopes = np.einsum("nhwc,hwc->n", gradients, line, dtype=np.float64)
            gaps = (slopes[1:] + slopes[:-1]) / 2 * np.diff(shares) - np.diff(scores)
            allowed = tolerance * abs(scores[-1] - scores[0])
            if (abs(gaps.sum()) <= allowed and np.abs(gaps).sum() <= 10 * allowed) or len(gaps) >= MAX_STEPS:
                break
            worst = np.sort(np.argsort(-np.abs(gaps))[: BATCH_SIZE // 2])
            middles = (shares[worst] + shares[worst + 1]) / 2
            found, values = follow(middles)
            shares, scores = np.insert(shares, worst + 1, middles), np.insert(scores, worst + 1, values)
            gradients = np.insert(gradients, worst + 1, found, axis=0)
        steps = np.diff(shares, prepend=0, append=1)
        weights = (steps[1:] + steps[:-1]).astype(np.float32) / 2
        parts.append(line * np.einsum("n,nhwc->hwc", weights, gradients))
    return np.stack(parts)


def occlude(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Occlusion: Zeiler and Fergus 2014, arXiv 1311.2901.

    How much the score falls when a grey square of a quarter of the side covers a pixel, over the squares that do.

    Returns:
        `(images, height, width)` float32.
    """
    images = np.asarray(images, dtype=np.float32)
    height, width = images.shape[1:3]
    size = max(1, min(height, width) // 4)
    corners = [(top, left) for top in _spread(height - size) for left in _spread(width - size)]
    score = trace_score(build_scorer(model))
    falls, covered = np.zeros(images.shape[:3], np.float32), np.zeros((height, width), np.float32)
    for top, left in corners:
        covered[top : top + size, left : left + size] += 1
    for image, label, fall in zip(images, classes, falls, strict=True):
        hidden = np.repeat(image[None], len(corners) + 1, axis=0)
        for copy, (top, left) in zip(hidden[1:], corners, strict=True):
            copy[top : top + size, left : left + size] = GREY
        whole, *parts = map_batches(score, hidden, np.full(len(hidden), label))
        for part, (top, left) in zip(parts, corners, strict=True):
            fall[top : top + size, left : left + size] += whole - part
    return falls / np.maximum(covered, 1)


def find_edges(images: np.ndarray) -> np.ndarray:
    """The edges of images, for which no model is needed: `(images, height, width)` float32, lengths of gradients."""
    brightness = np.asarray(images, dtype=np.float32).mean(axis=-1)
    return np.stack([np.hypot(ndimage.sobel(image, axis=0), ndimage.sobel(image, axis=1)) for image in brightness])


def shuffle_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """A copy of a model with the numbers of every weight in random order: a control of Adebayo et al. 2018.

    The layers keep the scale of their weights and the statistics of normalisation, which stay as they are.
    """
    rng = np.random.default_rng(seed)
    copy = copy_model(model)
    copy.set_weights(
        [
            array if "moving_" in weight.path else rng.permutation(array.ravel()).reshape(array.shape)
            for weight, array in zip(copy.weights, copy.get_weights(), strict=True)
        ]
    )
    return copy


def explain_by_all(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """What every method says, and two that know nothing of the model.

    Returns:
        By method, in an order to show them in, `(images, height, width)` or `(images, height, width, 3)` float32.
    """
    cam, guided = grad_cam(model, images, classes), explain_predictions(model, images, classes)
    return {
        "Grad-CAM": cam,
        "Guided Grad-CAM": guided * cam[..., None],
        "Guided backpropagation": guided,
        "SmoothGrad": smooth_gradients(model, images, classes),
        INTEGRATED: integrate_gradients(model, images, classes),
        "Occlusion": occlude(model, images, classes),
        "Edges of the image": find_edges(images),
        "At random": np.random.default_rng(0).random(images.shape[:3], np.float32),
    }


def rank_pixels(name: str, attribution: np.ndarray) -> np.ndarray:
    """One number a pixel, the most important highest: `(images, height, width)` of what a method of that name says.

    The sum over the colours of parts of a score, whose sign means something, else the sum of sizes.
    """
    if attribution.ndim == 3:
        return attribution
    return attribution.sum(axis=-1) if name == INTEGRATED else np.abs(attribution).sum(axis=-1)


def _build_gradient(scorer: keras.Model) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """A function of images and classes, to the gradients of the scores with respect to the pixels, and the scores."""
    score = trace_score(scorer)

    @tf.function(reduce_retracing=True)
    def differentiate(batch: tf.Tensor, part: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            chosen = score(batch, part)
        return tape.gradient(chosen, batch), chosen

    return differentiate


def _spread(last: int) -> list[int]:
    """Nine starts from 0 to `last`, or fewer where there are not so many."""
    return sorted({round(last * step / 8) for step in range(9)})
