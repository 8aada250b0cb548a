"""The conclusion of a sweep: one verdict on each hyperparameter, and what is unknown."""

from simulated_sweeps import RATE, SPACE, make_sweep, score, search

from keras_inat.reporting.statistics.conclusion import conclude_sweep
from keras_inat.reporting.sweep_history import SweepHistory
from keras_inat.store.sweeps import SweepIdentity


def test_each_hyperparameter_has_one_verdict_by_its_adjusted_effects():
    conclusion = conclude_sweep(search(1, 120))
    verdicts = {entry.setting: entry.verdict for entry in conclusion.hyperparameters}
    assert verdicts["a.norm"] == verdicts["a.filters"] == verdicts[RATE] == "significant"
    assert verdicts["a.flip"] == "below 3 points"
    assert any(sentence.startswith("`norm` true against false: +") for sentence in conclusion.significant)
    assert "`flip`" in conclusion.small
    assert conclusion.inconclusive == []
    assert conclusion.trials_for_3_points is None  # it has as many
    for entry in conclusion.hyperparameters:
        assert entry.effects[0].verdict == entry.verdict
        assert (entry.verdict == "significant") == any(effect.estimate.excludes_zero for effect in entry.effects)
    assert verdicts == dict(sorted(verdicts.items(), key=lambda item: item[1] != "significant"))


def test_noisy_scores_are_inconclusive_and_need_more_trials():
    conclusion = conclude_sweep(search(0, 40, lambda settings, rng: score(settings, rng) + rng.normal(0, 0.05)))
    assert "`flip`" in conclusion.inconclusive
    assert conclusion.margin > 0.04
    assert 80 < conclusion.trials_for_3_points < 400


def test_values_that_no_scored_trial_has_are_untried():
    space = SPACE | {"a.filters": [16, 32, 64, 128], "a.order": ["same", "double"], "a.depth": 5}
    sweep = search(0, 60)
    for trial in sweep.trials:
        trial.settings["a.order"] = "same"
    sweep = SweepHistory(sweep.folder, sweep.trials, identity=SweepIdentity(space=space, settings={}, data_hash=""))
    conclusion = conclude_sweep(sweep)
    assert conclusion.untried == ["`128` of `filters`", "`double` of `order`"]
    entries = {entry.setting: entry for entry in conclusion.hyperparameters}
    assert (entries["a.order"].values, entries["a.order"].verdict) == ([("same", 60), ("double", 0)], "not varied")
    assert "a.depth" not in entries
    assert sum(num for _, num in entries["a.filters"].values) == 60
    assert len(entries[RATE].values) == len({trial.settings[RATE] for trial in sweep.trials})


def test_a_choice_of_a_single_trial_is_withheld_and_the_others_are_not():
    sweep = search(0, 60)
    sweep.trials[7].settings["a.activation"] = "mish"
    conclusion = conclude_sweep(sweep)
    assert conclusion.withheld == ["`activation` mish against the others"]
    [activation] = [entry for entry in conclusion.hyperparameters if entry.setting == "a.activation"]
    assert {effect.change for effect in activation.effects} == {
        "gelu against relu, silu",
        "relu against gelu, silu",
        "silu against gelu, relu",
    }


def test_few_trials_give_a_reason():
    conclusion = conclude_sweep(search(0, 12))
    assert (conclusion.adjusted, conclusion.trials_for_3_points, conclusion.margin) == (None, None, 0)
    assert conclusion.reason.startswith("Too few trials to estimate adjusted effects")
    assert {entry.verdict for entry in conclusion.hyperparameters} == {"too few trials"}


def test_aliased_hyperparameters_are_named_with_the_effect():
    sweep = search(0, 60)
    for trial in sweep.trials:
        trial.settings["z.same"] = "yes" if trial.settings["a.norm"] else "no"
    conclusion = conclude_sweep(make_sweep(sweep.trials))
    [sentence] = [sentence for sentence in conclusion.significant if sentence.startswith("`norm`")]
    assert sentence.endswith("It is aliased with `same`, which may cause this effect instead.")
    assert {entry.setting: entry.verdict for entry in conclusion.hyperparameters}["z.same"] == "aliased"
