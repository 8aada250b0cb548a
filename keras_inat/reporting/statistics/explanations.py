"""Conclusions from explanations: filters against random weights, maps against classes, methods against controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_inat.intervals import Estimate
from keras_inat.store.explanations import EDGES, RANDOM, StageResponses

COMPONENTS = ("brightness", "color", "luminance edges", "color edges")
SMOOTHNESS = "smoothness"
NUM_RANDOM_SETS = 1000
NUM_PERMUTATIONS = 1000
ALPHA = 0.05
CONTROLS = (RANDOM, EDGES)


@dataclass(frozen=True)
class Measure:
    """A measure of filters or maps, with the range of the same measure under pure chance."""

    name: str
    value: float
    low: float  # the lowest and the highest value by chance, in 95 of 100 cases for all measures together
    high: float

    @property
    def exceeds_chance(self) -> bool:
        return self.value > self.high

    @property
    def differs(self) -> bool:
        return self.exceeds_chance or self.value < self.low


def measure_components(filters: np.ndarray) -> np.ndarray:
    """Returns the fraction of the energy of filters `(filters, height, width, 3)` in each of `COMPONENTS`.

    The energy of a filter, its squared weights, is the sum of four components: brightness (its mean over positions and
    channels), color (differences of channels, the same at all positions), luminance edges (differences of positions,
    the same in all channels) and color edges (the rest). The result is `(filters, 4)`, zero for a filter of zeros.
    """
    size = filters.shape[1] * filters.shape[2]
    by_channel = filters.mean(axis=(1, 2))
    by_position = filters.mean(axis=3)
    mean = by_channel.mean(axis=1)
    brightness = 3 * size * mean**2
    color = size * ((by_channel - mean[:, None]) ** 2).sum(axis=1)
    luminance_edges = 3 * ((by_position - mean[:, None, None]) ** 2).sum(axis=(1, 2))
    total = (filters**2).sum(axis=(1, 2, 3))
    color_edges = np.maximum(total - brightness - color - luminance_edges, 0)
    energies = np.stack([brightness, color, luminance_edges, color_edges], axis=1)
    return energies / np.maximum(total, 1e-30)[:, None]


def compare_with_random(filters: np.ndarray) -> list[Measure]:
    """Compares filters `(filters, height, width, 3)` with as many filters of random, normally distributed weights.

    The measures are the mean fraction of the energy in each component, and the smoothness: the mean product of adjacent
    weights as a fraction of the mean square, 1 for a constant filter and 0 on average for a random one. They do not
    depend on the scale. Filters of zeros do not count.
    """
    used = filters[np.any(filters, axis=(1, 2, 3))]
    random = np.random.default_rng(0).standard_normal((NUM_RANDOM_SETS * len(used), *used.shape[1:]), np.float32)
    values = _measure_filters(used).mean(axis=0)
    chance = _measure_filters(random).reshape(NUM_RANDOM_SETS, len(used), -1).mean(axis=1)
    tail = ALPHA / 2 / len(values)
    low, high = np.quantile(chance, [tail, 1 - tail], axis=0)
    names = (*COMPONENTS, SMOOTHNESS)
    return [Measure(*numbers) for numbers in zip(names, values.tolist(), low.tolist(), high.tolist(), strict=False)]


def _measure_filters(filters: np.ndarray) -> np.ndarray:
    """Returns the measures of each filter, `(filters, measures)`. A filter of 1 x 1 has no smoothness."""
    fractions = measure_components(filters)
    if min(filters.shape[1:3]) == 1:
        return fractions
    square = (filters**2).mean(axis=(1, 2, 3))
    down = (filters[:, 1:] * filters[:, :-1]).mean(axis=(1, 2, 3))
    right = (filters[:, :, 1:] * filters[:, :, :-1]).mean(axis=(1, 2, 3))
    return np.column_stack([fractions, (down + right) / 2 / square])


def measure_class_dependence(responses: Sequence[StageResponses]) -> list[Measure]:
    """Measures the fraction of the variance of the filters' activations between images that their classes explain.

    A value is the mean over the filters of a stage. Chance is the same with permuted classes.
    """
    rng = np.random.default_rng(0)
    measures = []
    for stage in responses:
        values = stage.activations - stage.activations.mean(axis=0)
        total = (values**2).sum(axis=0)
        values = values[:, total > 0] / np.sqrt(total[total > 0])
        similarities = values @ values.T / max(1, values.shape[1])
        members = stage.labels == np.unique(stage.labels)[:, None]
        weights = members / np.sqrt(members.sum(axis=1, keepdims=True))

        def explain(weights: np.ndarray, similarities: np.ndarray = similarities) -> float:
            # A class sums the products of its images, divided by their number.
            return float(((weights @ similarities) * weights).sum())

        chance = [explain(weights[:, rng.permutation(len(values))]) for _ in range(NUM_PERMUTATIONS)]
        measures.append(
            Measure(stage.layer, explain(weights), 0.0, float(np.quantile(chance, 1 - ALPHA / len(responses))))
        )
    return measures


def count_agreeing_by_chance(labels: np.ndarray, num_images: int, num_agreeing: int) -> float:
    """Returns the probability that so many of `num_images` random images are of one class."""
    rng = np.random.default_rng(0)
    drawn = rng.permuted(np.tile(labels, (NUM_PERMUTATIONS, 1)), axis=1)[:, :num_images]
    most = (drawn[:, :, None] == np.unique(labels)).sum(axis=1).max(axis=1)
    return float((most >= num_agreeing).mean())


def compare_with_controls(scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, Estimate]]:
    """Compares the scores `(images,)` of each method with those of each control on the same images.

    Returns the mean differences by method and control, the best method first. All intervals hold at once in 95 of 100
    cases (Bonferroni).
    """
    from scipy.special import stdtrit

    methods = sorted((name for name in scores if name not in CONTROLS), key=lambda name: -scores[name].mean())
    level = 1 - ALPHA / 2 / (len(methods) * len(CONTROLS))
    table: dict[str, dict[str, Estimate]] = {}
    for name in methods:
        table[name] = {}
        for control in CONTROLS:
            differences = scores[name] - scores[control]
            mean = float(differences.mean())
            num = len(differences)
            half = float(stdtrit(num - 1, level) * differences.std(ddof=1) / np.sqrt(num))
            table[name][control] = Estimate(mean, mean - half, mean + half, num, "images")
    return table
