"""What filters look for: images made to excite them, and the parts of real images that do so most."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.activation_maximization import ActivationMaximization
from tf_keras_vis.activation_maximization.input_modifiers import Jitter
from tf_keras_vis.activation_maximization.regularizers import TotalVariation2D

from keras_inat.explain.activations import find_input, run_batches
from keras_inat.explain.filters import find_stages

NUM_STEPS, STEP_SIZE, VARIATION = 32, 7.0, 0.002
NUM_PROBES = 8


@dataclass(frozen=True)
class Preference:
    """A filter, an image made to excite it, and the patches of real images that do.

    Attributes:
        layer: Name of the layer.
        filter: Index along the layer's channels.
        side: Of what a neuron of the filter sees, and of the pictures, in pixels.
        synthetic: `(side, side, 3)` float32 in [0, 255].
        patches: `(patches, side, side, 3)` in [0, 255], each of another image, the most exciting first.
        images: Index of the image that each patch is from.
        activations: `(patches,)` float32.
    """

    layer: str
    filter: int
    side: int
    synthetic: np.ndarray
    patches: np.ndarray
    images: tuple[int, ...]
    activations: np.ndarray


def find_preferences(
    model: keras.Model, images: np.ndarray, num_filters: int = 2, num_patches: int = 6, seed: int = 0
) -> list[Preference]:
    """Finds what filters of every stage look for, drawn at random from those that any image excites.

    Args:
        model: A functional model with one image as its input; it stays as it is.
        images: `(images, height, width, 3)` in [0, 255].
        num_filters: How many of each stage, as `find_stages` gives them.
        num_patches: How many patches of each.
        seed: Decides which filters, and what the synthetic images begin as.

    Returns:
        Stage by stage; fewer filters where fewer are alive.

    Raises:
        ValueError: When there is no activation with rows and columns.
    """
    stages, rng = find_stages(model), np.random.default_rng(seed)
    cut = keras.Model(model.inputs, [layer.output for layer in stages])
    both = keras.Model(model.inputs, [*(find_input(layer) for layer in stages), *cut.outputs])
    # Per stage `(images, filters)`: what enters the activation where that is highest, where, and what comes out there.
    peaks: list[list[tuple[np.ndarray, ...]]] = [[] for _ in stages]
    for outputs in run_batches(both, images):
        for index, (before, after) in enumerate(zip(outputs, outputs[len(stages) :], strict=False)):
            flat, values = (part.reshape(len(part), -1, part.shape[-1]) for part in (before, after))
            where = flat.argmax(axis=1)[:, None]
            found = (np.take_along_axis(part, where, axis=1)[:, 0] for part in (flat, values))
            peaks[index].append((*found, where[:, 0]))
    tables = [[np.concatenate(part) for part in zip(*rows, strict=True)] for rows in peaks]
    chosen, scales = [], []
    for index, (_, values, _) in enumerate(tables):
        alive = np.flatnonzero(values.max(axis=0) > 0)
        drawn = np.sort(rng.permutation(alive)[:num_filters])
        chosen += [(index, int(number)) for number in drawn]
        scales += [float(values[:, number].max()) for number in drawn]
    if not chosen:
        return []
    sides = measure_receptive_fields(cut)
    synthetic = maximise_filters(model, stages, chosen, np.array(scales), images.shape[1:], seed)
    preferences = []
    for (index, number), picture in zip(chosen, synthetic, strict=True):
        excitement, responses, where = (table[:, number] for table in tables[index])
        best = np.argsort(-excitement, kind="stable")[:num_patches]
        rows, columns = stages[index].output.shape[1:3]
        middles = [((place // columns + 0.5) / rows, (place % columns + 0.5) / columns) for place in where[best]]
        side = sides[index]
        patches = np.stack([_cut_out(images[i], middle, side) for i, middle in zip(best, middles, strict=True)])
        preferences.append(
            Preference(
                stages[index].name,
                number,
                side,
                _cut_out(picture, (0.5, 0.5), side),
                patches,
                tuple(best.tolist()),
                responses[best],
            )
        )
    return preferences


def measure_receptive_fields(cut: keras.Model) -> list[int]:
    """Sides, in pixels, of the squares that the middle neurons of the outputs of a model can see.

    Measured by the pixels that have a gradient, on several images of noise: no more than the image has.
    """
    cut, (height, width) = keras.Model(cut.inputs, cut.outputs), cut.inputs[0].shape[1:3]
    noise = np.random.default_rng(0).uniform(0, 255, (NUM_PROBES, height, width, 3)).astype(np.float32)
    with tf.GradientTape(persistent=True) as tape:
        probes = tf.constant(noise)
        tape.watch(probes)
        outputs = keras.tree.flatten(cut([probes], training=False))
        # Random signs, since the sum over the channels of a normalised layer may be constant.
        middles = [_take_middle(output) for output in outputs]
    sides = []
    for middle in middles:
        seen = np.abs(tape.gradient(middle, probes).numpy()).max(axis=(0, 3)) > 0
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        extent = max((np.ptp(line) + 1 if len(line) else 1) for line in (rows, columns))
        sides.append(int(min(extent, height, width)))
    return sides


def maximise_filters(
    model: keras.Model,
    stages: list[Any],
    chosen: list[tuple[int, int]],
    scales: np.ndarray,
    shape: tuple[int, ...],
    seed: int = 0,
) -> np.ndarray:
    """Activation maximisation (Erhan et al. 2009): climbs, from noise, to images that excite a filter everywhere.

    What goes into the filter's activation function is raised where that is a layer of its own: a neuron that is off
    has no gradient to climb by.

    Args:
        model: A functional model with one image as its input.
        stages: Its layers that the filters belong to.
        chosen: Index into `stages` and number of each filter.
        scales: `(filters,)` float, an activation that is high for each, so that all are weighed alike against noise.
        shape: Of the images, `(height, width, 3)`.
        seed: Of the noise.

    Returns:
        `(filters, height, width, 3)` float32 in [0, 255].
    """
    tensors = [find_input(layer) for layer in stages]
    cut = keras.Model(model.inputs, tensors)
    cut.call = tf.function(cut.call, reduce_retracing=True)  # tf-keras-vis runs layer by layer, five times as slow
    weights = [np.zeros((len(chosen), 1, 1, tensor.shape[-1]), np.float32) for tensor in tensors]
    for row, (index, number) in enumerate(chosen):
        weights[index][row, ..., number] = 1 / scales[row]

    def score(index: int) -> Any:
        return lambda output: tf.reduce_sum(tf.reduce_mean(output * weights[index], axis=(1, 2)), axis=-1)

    noise = np.random.default_rng(seed).normal(128, 12, (len(chosen), *shape)).astype(np.float32)
    result = ActivationMaximization(cut, clone=False)(
        [score(index) for index in range(len(tensors))],
        seed_input=tf.constant(noise),
        input_modifiers=[Jitter(2)],
        regularizers=[TotalVariation2D(VARIATION)],
        steps=NUM_STEPS,
        # Plain steps of one size: the jitter moves pixels away from what an optimizer would remember of them.
        optimizer=keras.optimizers.SGD(STEP_SIZE),
        gradient_modifier=lambda gradient: (
            gradient * tf.math.rsqrt(tf.reduce_mean(gradient**2, (1, 2, 3), keepdims=True) + 1e-24)
        ),
    )
    return np.asarray(result, dtype=np.float32)


def _take_middle(output: Any) -> Any:
    middle = output[:, output.shape[1] // 2, output.shape[2] // 2]
    signs = np.where(np.random.default_rng(1).random(middle.shape[-1]) < 0.5, -1.0, 1.0)
    return tf.reduce_sum(middle * tf.cast(signs, middle.dtype))


def _cut_out(image: np.ndarray, middle: tuple[float, float], side: int) -> np.ndarray:
    """A square of an image around a place, given as parts of height and width, moved inwards at the border."""
    starts = [
        int(np.clip(round(part * extent - side / 2), 0, extent - side))
        for part, extent in zip(middle, image.shape[:2], strict=True)
    ]
    return np.asarray(image[starts[0] : starts[0] + side, starts[1] : starts[1] + side])
