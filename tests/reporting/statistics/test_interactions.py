"""Interactions of sweeps with known effects."""

import re

from simulated_sweeps import search

from keras_inat.reporting.statistics.adjusted_effects import estimate_adjusted_effects


def test_effects_that_depend_on_another_setting_are_found():
    def score(settings, rng):
        return 0.4 + 0.04 * settings["a.norm"] * (settings["a.size"] == 64) + rng.normal(0, 0.01)

    [sentence] = estimate_adjusted_effects(search(0, 120, score)).interactions
    assert re.match(
        r"`norm` from false to true: [+−]0\.\d points where `size` = 32, \+[34]\.\d points where `size` = 64", sentence
    )


def test_the_choice_with_the_largest_effect_is_named():
    def score(settings, rng):
        return 0.4 + 0.05 * settings["a.norm"] * (settings["a.activation"] == "relu") + rng.normal(0, 0.01)

    [sentence] = estimate_adjusted_effects(search(0, 150, score)).interactions
    assert sentence.startswith("`norm` from false to true: ")
    assert re.search(
        r"\+[45]\.\d points where `activation` = relu; a difference of \+[45]\.\d points \(95.% interval", sentence
    )
    low, high = map(float, re.search(r"interval \+(\d\.\d) to \+(\d\.\d), n.=.150.trials; p = ", sentence).groups())
    assert 2.5 < low < 5 < high < 7.5
