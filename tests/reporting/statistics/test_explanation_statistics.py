"""Conclusions from explanations, on planted data."""

import numpy as np
import pytest

from keras_inat.reporting.statistics.explanations import (
    compare_with_controls,
    compare_with_random,
    count_agreeing_by_chance,
    measure_class_dependence,
    measure_components,
)
from keras_inat.store.explanations import StageResponses

EDGE = np.array([-1.0, 0, 1])[None, :, None] * np.ones((3, 3, 3))


def test_components_of_filters():
    opponent = EDGE * [1, -1, 0]
    red = np.ones((3, 3, 3)) * [1, -0.5, -0.5]
    gray = np.ones((3, 3, 3))
    fractions = measure_components(np.stack([gray, red, -2 * EDGE, opponent, 0 * gray]))
    expected = np.vstack([np.eye(4), np.zeros(4)])
    np.testing.assert_allclose(fractions[[0, 1, 2, 4]], expected[[0, 1, 2, 4]], atol=1e-12)
    np.testing.assert_allclose(fractions[3], [0, 0, 0, 1], atol=1e-12)


def test_random_filters_are_not_distinguishable_from_random_ones() -> None:
    differing = 0
    for seed in range(20):
        filters = np.random.default_rng(seed + 1).normal(0, 0.1, (16, 3, 3, 3))
        differing += any(measure.differs for measure in compare_with_random(filters))
    assert differing <= 3  # 1 on average


def test_filters_that_detect_edges_differ_from_random_ones() -> None:
    rng = np.random.default_rng(0)
    filters = EDGE * rng.choice([-1, 1], (16, 1, 1, 1)) + rng.normal(0, 0.3, (16, 3, 3, 3))
    filters[3] = 0
    measures = {measure.name: measure for measure in compare_with_random(filters)}
    assert measures["luminance edges"].exceeds_chance
    assert measures["color edges"].value < measures["color edges"].low
    # In a random filter, 2 of 27 directions are differences of colors.
    assert measures["color"].low < 2 / 27 < measures["color"].high
    assert len(compare_with_random(rng.normal(size=(4, 1, 1, 3)))) == 4  # a single position has no smoothness


def test_class_dependence() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    noise = rng.normal(size=(60, 4)).astype(np.float32)
    means = np.array([0, 1, 2])[labels, None] * np.ones((1, 4)) + 0.2 * noise
    none = np.full((60, 3), np.nan)
    first, second = measure_class_dependence(
        [StageResponses("first", none, noise, labels), StageResponses("second", none, means, labels)]
    )
    assert not first.exceeds_chance
    assert second.exceeds_chance
    groups = [means[labels == label] for label in range(3)]
    between = sum(len(group) * (group.mean(axis=0) - means.mean(axis=0)) ** 2 for group in groups)
    assert second.value == pytest.approx((between / ((means - means.mean(axis=0)) ** 2).sum(axis=0)).mean())


def test_agreement_by_chance() -> None:
    labels = np.repeat(np.arange(2), 500)
    # Of four images 3 or 4 are of one of two equal classes in 10 of 16 cases.
    assert count_agreeing_by_chance(labels, 4, 3) == pytest.approx(10 / 16, abs=0.05)


def test_methods_are_compared_with_both_controls_on_the_same_images() -> None:
    spread = np.linspace(-1, 1, 9)
    scores = {"A": spread + 0.5, "B": -spread, "Random order": spread, "Image edges": spread + 0.5}
    compared = compare_with_controls(scores)
    assert list(compared) == ["A", "B"]
    assert compared["A"]["Random order"].low == pytest.approx(0.5)  # without a spread of the differences
    assert compared["A"]["Image edges"].low == pytest.approx(0)
    estimate = compared["B"]["Random order"]
    # Student's t of 8 degrees of freedom at 1 - 0.05 / 8, for four intervals.
    half = 3.2060 * np.std(2 * spread, ddof=1) / 3
    assert (estimate.low, estimate.high) == pytest.approx((-half, half), rel=1e-3)
