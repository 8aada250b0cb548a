"""Adjusted effects of sweeps with known effects."""

import re

import numpy as np
import pytest
from simulated_sweeps import (
    RATE,
    WITHOUT_EFFECT,
    estimate_search,
    make_sweep,
    make_trial,
    sample,
    score,
    search,
)

from keras_inat.intervals import Estimate
from keras_inat.reporting.statistics.adjusted_effects import (
    AdjustedEffect,
    AdjustedEffects,
    estimate_adjusted_effects,
)
from keras_inat.search.pruning import is_pruned_by_halving
from keras_inat.store.records import build_curve

WITH_EFFECT = ["a.filters", "a.norm", "a.activation", RATE]


def list_significant(adjusted):
    return [effect for effect in adjusted.effects if effect.verdict == "significant"]


def list_sentences(adjusted):
    return {f"{effect.setting} {effect.change}": effect.sentence for effect in list_significant(adjusted)}


def is_false(effect):
    """Returns whether a significant effect has the wrong sign, or should be zero."""
    is_higher = effect.estimate.value > 0
    if effect.setting == "a.activation":
        return is_higher != effect.change.startswith("gelu")
    # The best rate is in the middle; neither end is better than the other.
    is_positive = effect.setting in ("a.filters", "a.norm") or effect.change.startswith("half-way")
    return effect.setting in WITHOUT_EFFECT or (is_positive and not is_higher)


def test_effects_are_found_without_false_positives():
    found = dict.fromkeys(WITH_EFFECT, 0)
    num_false = 0
    for seed in range(200):
        adjusted = estimate_search(seed)
        significant = list_significant(adjusted)
        for name in found:
            found[name] += any(effect.setting == name for effect in significant)
        num_false += bool(adjusted.interactions) or any(is_false(effect) for effect in significant)
    assert num_false <= 10  # of 200 sweeps, 5 %
    assert min(found.values()) > 150


def misses_truth(effect):
    """Returns whether the interval of an effect that the model can express excludes the true effect."""
    if effect.setting == "a.filters":
        low, high = (int(number) for number in re.findall(r"\d+", effect.change))
        truth = 0.01 * np.log2(high / low) if effect.change.startswith("from") else 0.0
    else:
        truth = {"a.norm": 0.03} | dict.fromkeys(WITHOUT_EFFECT, 0.0)
        truth = truth.get(effect.setting, effect.estimate.value)
    return not effect.estimate.low <= truth <= effect.estimate.high


def test_intervals_are_simultaneous():
    missed = sum(any(misses_truth(effect) for effect in estimate_search(seed).effects) for seed in range(100))
    assert missed <= 10  # of 100; 5 are expected if the model can express the effect of the rate, which it nearly can


def test_a_setting_that_does_not_apply_is_not_a_choice():
    num_false = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        trials = []
        for number in range(60):
            activation = ["missing", "relu", "gelu"][rng.integers(3)]
            settings = {"m.activation": activation, "a.flip": bool(rng.integers(2))}
            accuracy = 0.5 - 0.06 * (activation == "missing") + rng.normal(0, 0.02)
            if activation == "missing":
                del settings["m.activation"]
            trials.append(make_trial(number, accuracy, settings))
        num_false += bool(list_significant(estimate_adjusted_effects(make_sweep(trials))))
    assert num_false <= 8  # of 100; without the indicator of applicability, 60


def test_the_effect_of_being_applied_is_not_attributed_to_a_value():
    num_false = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        trials = []
        for number in range(60):
            settings = {"m.norm": bool(rng.integers(2)), "m.dense": bool(rng.integers(2))}
            applies = settings["m.norm"] and settings["m.dense"]
            activation = ["relu", "gelu"][rng.integers(2)]
            if applies:
                settings["m.activation"] = activation
            trials.append(make_trial(number, 0.5 + 0.06 * applies + rng.normal(0, 0.02), settings))
        significant = list_significant(estimate_adjusted_effects(make_sweep(trials)))
        num_false += any(effect.setting == "m.activation" for effect in significant)
    assert num_false <= 8


def halve(sweep):
    """Returns the same trials, pruned by successive halving."""
    rng = np.random.default_rng(0)
    trials = []
    curves = []
    for trial in sweep.trials:
        steps = trial.score * (1 - 0.5 * np.exp(-np.arange(1, 5) / 1.5)) + rng.normal(0, 0.006, 4)
        curve = build_curve([*steps, trial.score])
        length = next((n for n in range(1, 6) if is_pruned_by_halving(curve[:n], curves, 5)), None)
        curves.append(curve[:length])
        fields = {"status": "pruned" if length else "completed", "val_accuracies": tuple(curves[-1])}
        trials.append(make_trial(trial.id, curves[-1][-1], trial.settings, **fields))
    return make_sweep(trials)


def test_effects_are_found_despite_pruning():
    found = dict.fromkeys(WITH_EFFECT, 0)
    num_false = 0
    num_completed = 0
    for seed in range(100):
        sweep = halve(search(seed, 60))
        truncated = sweep.truncate()
        assert (truncated.epoch, len(truncated.completed)) == (2, 60)
        adjusted = estimate_adjusted_effects(truncated)
        significant = list_significant(adjusted)
        for name in found:
            found[name] += any(effect.setting == name for effect in significant)
        num_false += bool(adjusted.interactions) or any(is_false(effect) for effect in significant)
        num_completed += len(sweep.completed)
    assert num_completed < 100 * 40
    assert num_false <= 5
    assert min(found.values()) > 50


def test_sentences_have_the_effect_its_interval_and_its_sample_size():
    adjusted = estimate_adjusted_effects(search(1, 120))
    sentences = list_sentences(adjusted)
    assert sentences["a.norm true against false"].startswith("`norm` true against false: +")
    assert "(95 % interval +" in sentences["a.norm true against false"]
    assert sentences["a.norm true against false"].endswith("n\u00a0=\u00a0120\u00a0trials).")
    [middle] = [text for name, text in sentences.items() if name.startswith("t.rate half-way")]
    assert middle.startswith("`rate` half-way between")
    assert ", against the mean of these two: +" in middle
    assert sentences["a.filters from 16 to 64"].startswith("`filters` from 16 to 64: +")
    [norm] = [effect.estimate for effect in adjusted.effects if effect.setting == "a.norm"]
    assert norm.low < 0.03 < norm.high
    assert 0.8 < adjusted.model.adjusted_r2 < 1


def test_trials_that_did_not_learn_are_excluded():
    def collapse(settings, rng):
        return 0.1 if settings[RATE] > 0.03 else score(settings, rng)

    adjusted = estimate_adjusted_effects(search(2, 100, collapse))
    assert set(adjusted.excluded) == {0.1}
    assert len(adjusted.model.scores) == 100 - len(adjusted.excluded)
    assert "a.norm true against false" in list_sentences(adjusted)


def test_equal_scores_of_most_trials_do_not_exclude_the_others():
    sweep = search(0, 40, lambda settings, rng: [0.5, 0.5, 0.5, 0.52, 0.495][rng.integers(5)])
    assert estimate_adjusted_effects(sweep).excluded == []


def test_effects_that_cannot_be_estimated_have_a_reason():
    # The mean, seven settings of which one has three choices, and eight degrees of freedom.
    assert estimate_adjusted_effects(search(0, 15)) == (
        "Too few trials to estimate adjusted effects: this space needs at least 17 scored trials, and the sweep has 15."
    )
    assert isinstance(estimate_adjusted_effects(search(0, 17)), AdjustedEffects)
    equal = search(0, 40, lambda settings, rng: 0.5)
    assert estimate_adjusted_effects(equal) == "There are no adjusted effects: all trials have the same accuracy."
    exact = search(0, 40, lambda settings, rng: 0.5 + 0.25 * settings["a.norm"])
    assert "fits every accuracy exactly" in estimate_adjusted_effects(exact)


def test_settings_that_vary_only_among_failed_trials_have_no_effect():
    sweep = search(0, 40)
    for trial in sweep.trials:
        trial.settings.update(sweep.trials[0].settings)
    other = dict.fromkeys(sample(np.random.default_rng(0)), 1)
    sweep.trials.append(make_trial(40, None, other, status="failed"))
    assert estimate_adjusted_effects(sweep) == (
        "There are no adjusted effects: no hyperparameter varies among the scored trials."
    )


@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 39 + [0.2],
        [0.0] * 38 + [0.2, 0.4],
        [4, 5] * 19 + [4, 6],
        [None] * 38 + [0.5, 0.9],
        [None] * 36 + [0.5, 0.6, 0.8, 0.9],
    ],
)
def test_effects_of_few_trials_are_not_significant(values):
    num_false = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        trials = []
        for number, value in enumerate(values):
            settings = {"a.norm": bool(number % 2)} | ({} if value is None else {"a.odd": value})
            trials.append(make_trial(number, 0.5 + rng.normal(0, 0.01), settings))
        num_false += bool(list_significant(estimate_adjusted_effects(make_sweep(trials))))
    assert num_false <= 4


def test_a_search_that_converged_keeps_its_effects():
    sweep = search(0, 120)
    rng = np.random.default_rng(0)
    for number, trial in enumerate(sweep.trials):
        trial.settings[RATE] = 10 ** rng.uniform(-5, -1) if number < 5 else 1e-3 * (1 + 0.005 * rng.uniform(-1, 1))
    adjusted = estimate_adjusted_effects(sweep)
    assert adjusted.aliased == {}
    assert "a.norm true against false" in list_sentences(adjusted)


def test_settings_that_always_change_together_are_aliased():
    sweep = search(0, 60)
    for trial in sweep.trials:
        trial.settings["z.same"] = "yes" if trial.settings["a.norm"] else "no"
    adjusted = estimate_adjusted_effects(sweep)
    assert adjusted.aliased == {"z.same": ["a.norm"]}
    assert "a.norm true against false" in list_sentences(adjusted)


def test_a_choice_of_a_single_trial_has_no_row():
    sweep = search(0, 60)
    sweep.trials[7].settings["a.activation"] = "mish"
    adjusted = estimate_adjusted_effects(sweep)
    assert not any("mish" in effect.change for effect in adjusted.effects)
    assert any(effect.setting == "a.activation" for effect in adjusted.effects)
    assert adjusted.withheld == [("a.activation", "mish against the others")]


def test_noise_explains_no_variance():
    explained = [
        estimate_adjusted_effects(search(seed, 40, lambda settings, rng: rng.normal(0.5, 0.01))).model.adjusted_r2
        for seed in range(20)
    ]
    assert np.mean(explained) < 0.15


def test_a_conditional_setting_is_estimated_from_the_trials_that_have_it():
    sweep = search(0, 80)
    for number, trial in enumerate(sweep.trials):
        if number % 2 == 0:
            trial.settings["t.momentum"] = 0.5 + 0.4 * (number % 7) / 7
        trial.settings["t.optimizer"] = "adam" if number % 2 else "sgd"
    effects = [effect for effect in estimate_adjusted_effects(sweep).effects if effect.setting == "t.momentum"]
    assert {effect.estimate.num for effect in effects} == {40}
    assert not any(effect.verdict == "significant" for effect in effects)


def test_numbers_enter_on_the_scale_of_the_space():
    """A dropout that a search drew from 0 to 0.5 spans more than a factor of ten, but is no logarithmic scale."""
    sweep = search(0, 60)
    drops = [trial.settings["t.drop"] for trial in sweep.trials]
    assert max(drops) > 10 * min(drops)
    factors = {factor.setting: factor for factor in estimate_search(0).model.factors}
    scales = {name: factor.logarithmic for name, factor in factors.items() if factor.is_number}
    assert scales == {"a.filters": True, "a.size": False, "t.rate": True, "t.drop": False}
    by_value = np.argsort(factors["t.drop"].values)
    middle = by_value[np.searchsorted(np.array(factors["t.drop"].values)[by_value], 0.25)]
    assert abs(factors["t.drop"].columns[middle, 0]) < 0.2


def test_an_effect_whose_whole_interval_is_small_is_not_inconclusive():
    verdicts = [
        AdjustedEffect("a.norm", "", Estimate(0.0, *ends, 40, "trials")).verdict
        for ends in ((-0.02, 0.029), (-0.02, 0.031), (-0.031, 0.02), (0.001, 0.02), (-0.05, -0.0001))
    ]
    assert verdicts == ["below 3 points", "inconclusive", "inconclusive", "significant", "significant"]


def test_the_needed_trials_have_a_margin_of_error_of_three_points():
    def noisy(settings, rng):
        return score(settings, rng) + rng.normal(0, 0.02)

    needed = round(np.median([estimate_adjusted_effects(search(seed, 32, noisy)).num_needed for seed in range(30)]))
    assert 40 < needed < 65
    margins = [
        np.median([effect.half_width for effect in estimate_adjusted_effects(search(seed, needed, noisy)).effects])
        for seed in range(500, 530)
    ]
    assert np.median(margins) == pytest.approx(0.03, rel=0.15)
