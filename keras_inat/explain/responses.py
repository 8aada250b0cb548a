"""The relation of the feature maps of a network to features of its images and to their classes."""

import keras
import numpy as np
import tensorflow as tf

from keras_inat.explain.attribution import compute_edges
from keras_inat.explain.filters import find_stages
from keras_inat.explain.networks import map_batches
from keras_inat.store.explanations import StageResponses

NUM_IMAGES = 120
MIN_POSITIONS = 16


def measure_responses(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> list[StageResponses]:
    """Measures the responses of every stage of a network to random ones of images `(images, height, width, 3)`.

    The map of a stage is the mean over its filters, each divided by its standard deviation: no filter dominates.
    """
    chosen = np.random.default_rng(0).permutation(len(images))[:NUM_IMAGES]
    images = images[chosen]
    stages = find_stages(model)
    network = keras.Model(model.inputs, [layer.output for layer in stages])
    run = tf.function(lambda batch: keras.tree.flatten(network([batch], training=False)), reduce_retracing=True)

    def measure_moments(batch: tf.Tensor) -> list[tf.Tensor]:
        return [tf.stack(tf.nn.moments(tf.cast(maps, tf.float32), (1, 2)), 1) for maps in run(batch)]

    moments = map_batches(measure_moments, images)
    means = [stage[:, 0] for stage in moments]
    weights = []
    for stage in moments:
        deviation = np.sqrt(stage[:, 1].mean(axis=0) + stage[:, 0].var(axis=0))
        weights.append(np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0))

    def correlate(batch: tf.Tensor) -> list[np.ndarray]:
        features = compute_features(batch.numpy())
        values = []
        for maps, weight in zip(run(batch), weights, strict=True):
            mean = np.asarray(maps, np.float32) @ weight
            small = tf.image.resize(features, mean.shape[1:], method="area").numpy()
            values.append(correlate_maps(mean, small))
        return values

    correlations = map_batches(correlate, images)
    return [
        StageResponses(layer.name, correlations[index], means[index], labels[chosen])
        for index, layer in enumerate(stages)
    ]


def compute_features(images: np.ndarray) -> np.ndarray:
    """Computes the `FEATURES` of images `(images, height, width, 3)`, as `(images, height, width, 3)` float32.

    They are the strength of luminance edges, color saturation (the range over the channels) and brightness (the mean).
    """
    return np.stack([compute_edges(images), np.ptp(images, axis=-1), images.mean(axis=-1)], axis=-1, dtype=np.float32)


def correlate_maps(maps: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Correlates maps `(images, rows, columns)` with features `(images, rows, columns, features)` image by image.

    The result is `(images, features)`. It is not a number where the map or the feature is constant, or for few
    positions.
    """
    if maps[0].size < MIN_POSITIONS:
        return np.full((len(maps), features.shape[-1]), np.nan, np.float32)
    first = maps.reshape(len(maps), -1, 1)
    second = features.reshape(*first.shape[:2], -1)
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.divide((first * second).sum(axis=1), scale, out=np.full_like(scale, np.nan), where=scale > 1e-12)
