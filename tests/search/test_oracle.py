"""Oracles, driven by synthetic scores instead of trainings."""

import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus

from keras_inat.search.oracle import NUM_NEAR, NUM_RANDOM, build_oracle
from keras_inat.search.records import Records
from keras_inat.search.runner import end_trial
from keras_inat.settings.loading import load_config
from keras_inat.store.records import Trial

SMALL = "sweep.space={model.filters: [2, 4, 8], model.activation: [relu, gelu], model.batch_norm: [true, false]}"
CONDITIONAL = (
    "sweep.space={model.dense_units: [0, 64], model.dropout: {min: 0.1, max: 0.5, when: {model.dense_units: 64}}, "
    "model.activation: [relu, gelu, silu], training.learning_rate: {min: 1e-4, max: 1e-1, log: true}}"
)


def score(values):
    return 0.3 + 0.1 * (values.get("model.activation") == "gelu") + 0.01 * values.get("model.filters", 0)


def drive(records, score, num_workers=1, stop_after=None):
    """Runs trials to the end, or until `stop_after` have begun. Records them as the sweep does."""
    oracle = build_oracle(records.config)
    running = {}
    num_begun = 0
    while True:
        for worker in set(range(num_workers)) - set(running):
            if num_begun == stop_after:
                return
            proposed = oracle.create_trial(str(worker))
            if proposed.status == TrialStatus.RUNNING:
                running[worker] = records.begin(proposed.trial_id, proposed.hyperparameters.values)
                num_begun += 1
        if not running:
            return
        trial = running.pop(min(running))
        try:
            ended = trial.model_copy(update={"status": "completed", "score": score(trial.values)})
        except FloatingPointError:
            ended = trial.model_copy(update={"status": "failed"})
        end_trial(records, oracle, ended)


def make_records(*settings):
    return Records(load_config(["NAME=s", *settings]), "hash")


def make_completed(trial_id, values, score):
    return Trial(id=trial_id, values=values, settings=values, status="completed", score=score)


@pytest.mark.parametrize("oracle", ["bayesian", "random", "grid"])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_every_configuration_is_proposed_once_until_the_space_is_exhausted(oracle, num_workers):
    records = make_records(SMALL, "TRIALS=50", f"sweep.oracle={oracle}")
    drive(records, score, num_workers)
    settings = [tuple(trial.settings.values()) for trial in records.read_trials()]
    assert len(settings) == len(set(settings)) == 3 * 2 * 2


FORBID = "sweep.forbid=[{model.filters: [4, 8], model.activation: relu}]"


@pytest.mark.parametrize("oracle", ["bayesian", "random", "grid"])
def test_a_forbidden_combination_is_never_proposed(oracle):
    records = make_records(SMALL, "TRIALS=50", f"sweep.oracle={oracle}", "sweep.epochs=4", FORBID)
    drive(records, score)
    trials = records.read_trials()
    seen = {(trial.settings["model.activation"], trial.settings["model.filters"]) for trial in trials}
    assert seen == {("relu", 2), ("gelu", 2), ("gelu", 4), ("gelu", 8)}


@pytest.mark.parametrize(("oracle", "trials"), [("bayesian", 15), ("random", 25), ("grid", 35)])
def test_conditions_are_respected(oracle, trials):
    records = make_records(CONDITIONAL, f"TRIALS={trials}", f"sweep.oracle={oracle}", "sweep.epochs=9")
    drive(records, score)
    seen = {(trial.settings["model.dense_units"], "model.dropout" in trial.settings) for trial in records.read_trials()}
    assert seen == {(0, False), (64, True)}


@pytest.mark.parametrize("oracle", ["bayesian", "random", "grid"])
def test_several_conditions_and_nested_conditions_are_respected(oracle):
    space = (
        "sweep.space={model.pooling: [flatten, average], model.batch_norm: [true, false], "
        "model.dense_units: {choices: [0, 64], when: {model.pooling: flatten, model.batch_norm: true}}, "
        "model.dropout: {choices: [0.1, 0.2], when: {model.dense_units: 64}}}"
    )
    records = make_records(space, "TRIALS=30", f"sweep.oracle={oracle}", "sweep.epochs=3")
    drive(records, score)
    seen = {tuple(trial.settings.values()) for trial in records.read_trials()}
    plain = {("average", True), ("average", False), ("flatten", False)}
    assert seen == plain | {("flatten", True, 0), ("flatten", True, 64, 0.1), ("flatten", True, 64, 0.2)}


@pytest.mark.parametrize("oracle", ["bayesian", "random", "grid"])
def test_an_interrupted_search_resumes_with_the_same_proposals(oracle):
    settings = [SMALL, "TRIALS=11", f"sweep.oracle={oracle}", "sweep.epochs=9"]
    whole = make_records(*settings, "run.directory=whole")
    drive(whole, score)
    interrupted = make_records(*settings, "run.directory=interrupted")
    for stop_after in (1, 3, 2, 4):
        drive(interrupted, score, stop_after=stop_after)  # the last trial is killed, and begins again
    drive(interrupted, score)
    assert [trial.values for trial in interrupted.read_trials()] == [trial.values for trial in whole.read_trials()]


@pytest.mark.parametrize("outcome", ["equal", "failed"])
def test_proposals_differ_when_all_scores_are_equal_or_missing(outcome):
    def flat(values):
        if outcome == "failed":
            raise FloatingPointError
        return 0.1

    records = make_records(CONDITIONAL, "TRIALS=12")
    drive(records, flat)
    rates = [trial.settings["training.learning_rate"] for trial in records.read_trials()]
    assert len(set(rates)) == 12
    assert np.isfinite(rates).all()


def test_failing_configurations_are_avoided():
    def fragile(values):
        if values["model.activation"] == "silu":
            raise FloatingPointError
        return score(values)

    records = make_records(CONDITIONAL, "TRIALS=30")
    drive(records, fragile)
    late = [trial.settings["model.activation"] for trial in records.read_trials()[18:]]
    assert late.count("silu") < len(late) / 4


def test_proposals_follow_the_scores():
    """With many observations of a clear trend the Gaussian process proposes from the better half."""
    records = make_records(CONDITIONAL, "TRIALS=40")
    for index in range(20):
        rate = 10 ** -(1 + 3 * (index * 7 % 20) / 20)
        values = {
            "model.dense_units": 0,
            "model.activation": ("relu", "gelu")[index % 2],
            "training.learning_rate": rate,
        }
        trial_score = 0.5 - 0.1 * abs(np.log10(rate) + 2)
        records.write_trial(make_completed(str(index), values, trial_score))
    oracle = build_oracle(records.config)
    assert 10**-2.6 < oracle.populate_space("20")["values"]["training.learning_rate"] < 10**-1.4


def test_a_pruned_trial_counts_with_its_estimate():
    records = make_records(CONDITIONAL, "TRIALS=40")
    values = {"model.dense_units": 0, "model.activation": "relu", "training.learning_rate": 1e-2}
    records.write_trial(Trial(id="0", values=values, settings=values, status="pruned", score=0.2, estimate=0.35))
    oracle = build_oracle(records.config)
    assert oracle.trials["0"].score == 0.35


def test_unordered_choices_are_one_hot_and_an_inactive_one_is_all_zeros():
    records = make_records(CONDITIONAL)
    oracle = build_oracle(records.config)
    values = {"model.dense_units": 64, "model.dropout": 0.5, "model.activation": "gelu", "training.learning_rate": 1e-1}
    units, dropout, *activation, rate = oracle._embed(values)
    assert activation == [0, 1, 0]
    assert dropout == pytest.approx(1)
    assert rate == pytest.approx(1)
    assert oracle._embed({"model.dense_units": 0})[:5] == [1 - units, 0.5, 0, 0, 0]
    assert len(oracle._list_candidates()) == NUM_RANDOM
    records.write_trial(make_completed("0", values, 0.5))
    oracle = build_oracle(records.config)
    assert NUM_RANDOM < len(oracle._list_candidates()) <= NUM_RANDOM + NUM_NEAR
