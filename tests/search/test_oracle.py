"""Oracles, driven by synthetic scores instead of trainings."""

import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus

from keras_inat.bench.replayed_search import replay_trial
from keras_inat.search.oracle import NUM_NEAR, NUM_RANDOM, _log_expected_excess, build_oracle
from keras_inat.search.records import Records
from keras_inat.search.runner import end_trial
from keras_inat.settings.loading import load_config
from keras_inat.store.records import Trial, find_best

SMALL = "sweep.space={model.filters: [2, 4, 8], model.activation: [relu, gelu], model.batch_norm: [true, false]}"
CONDITIONAL = (
    "sweep.space={model.dense_units: [0, 64], model.dropout: {min: 0.1, max: 0.5, when: {model.dense_units: 64}}, "
    "model.activation: [relu, gelu, silu], training.learning_rate: {min: 1e-4, max: 1e-1, log: true}}"
)


def score(values):
    return 0.3 + 0.1 * (values.get("model.activation") == "gelu") + 0.01 * values.get("model.filters", 0)


def drive(records, score, num_workers=1, stop_after=None):
    """Runs trials to the end, or until `stop_after` have begun. Records them as the sweep does."""
    oracle = build_oracle(records)
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


def write_trial(records, trial_id, scores, **fields):
    """Records a trial with the scores of its epochs."""
    values = {"model.dense_units": 0, "model.activation": "relu", "training.learning_rate": 10 ** -(1 + int(trial_id))}
    if scores:
        fields |= {"score": max(scores), "epochs": len(scores), "val_accuracies": tuple(scores)}
    records.write_trial(Trial(id=trial_id, values=values, settings=values, **fields))


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
    assert len({tuple(trial.settings.values()) for trial in records.read_trials()}) == 12
    rates = [trial.settings["training.learning_rate"] for trial in records.read_trials()]
    assert len(set(rates)) > 8
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
    oracle = build_oracle(records)
    assert 10**-2.6 < oracle.populate_space("20")["values"]["training.learning_rate"] < 10**-1.4


def test_a_pruned_trial_counts_with_its_extrapolated_score():
    records = make_records(CONDITIONAL, "TRIALS=40")
    write_trial(records, "0", [0.2, 0.3, 0.4], status="completed")
    write_trial(records, "1", [0.1], status="pruned")
    write_trial(records, "2", [], status="failed")
    scores = build_oracle(records)._estimate_scores()
    assert scores["0"] == (0.4, 0)
    assert scores["1"][0] == pytest.approx(0.1 + 0.2)
    assert scores["1"][1] > 0
    assert set(scores) == {"0", "1"}


def test_unordered_choices_are_one_hot_and_an_inactive_one_is_all_zeros():
    records = make_records(CONDITIONAL)
    oracle = build_oracle(records)
    values = {"model.dense_units": 64, "model.dropout": 0.5, "model.activation": "gelu", "training.learning_rate": 1e-1}
    (all_active, inactive) = oracle._embed([values, {"model.dense_units": 0}])
    assert all_active == pytest.approx([1, 1, 0, 1, 0, 1])
    assert inactive == pytest.approx([0, 0.5, 0, 0, 0, 0.5])
    assert len(oracle._list_candidates({})) == NUM_RANDOM
    records.write_trial(make_completed("0", values, 0.5))
    oracle = build_oracle(records)
    assert NUM_RANDOM < len(oracle._list_candidates({"0": (0.5, 0.0)})) <= NUM_RANDOM + NUM_NEAR


def replay(records, curves, until=None):
    """Trains trials with the given curves, as the sweep does. Returns the numbers that started."""
    oracle = build_oracle(records)
    started = []
    while (proposed := oracle.create_trial(str(len(started)))).status == TrialStatus.RUNNING and len(started) != until:
        trial = records.begin(proposed.trial_id, proposed.hyperparameters.values)
        started.append(trial.id)
        curve = curves[trial.settings["model.activation"], trial.settings["model.filters"]]
        end_trial(records, oracle, replay_trial(records, oracle, trial, curve))
    return started


# The scores of ReLU mislead: they are the best after one epoch and the worst after eight.
CURVES = {
    (activation, filters): [
        (0.4 if activation == "relu" else 0.2)
        + 0.01 * filters
        + (0.01 if activation == "relu" else 0.1) * epoch
        - 0.02 * (activation == "gelu")
        for epoch in range(8)
    ]
    for activation in ("relu", "gelu", "silu")
    for filters in (2, 4, 6, 8)
}
FREEZE_THAW = "sweep.space={model.activation: [relu, gelu, silu], model.filters: [2, 4, 6, 8]}"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_misleading_first_epoch_does_not_cost_the_best_configuration(seed):
    records = make_records(FREEZE_THAW, "TRIALS=12", "sweep.epochs=8", f"run.seed={seed}")
    started = replay(records, CURVES)
    best = find_best(records.read_trials())
    assert (best.settings["model.activation"], best.settings["model.filters"]) == ("silu", 8)
    assert started[0] == "00"
    assert len(set(started)) == 12 < len(started)  # some have resumed
    assert records.read_trials()[0].status == "completed"  # the first one is not pruned
    statuses = [trial.status for trial in records.read_trials()]
    assert "pruned" in statuses
    assert all(trial.epochs in (1, 2, 4) for trial in records.read_trials() if trial.status == "pruned")


def test_an_interrupted_freeze_thaw_search_resumes_with_the_same_choices():
    settings = [FREEZE_THAW, "TRIALS=12", "sweep.epochs=8"]
    whole = replay(make_records(*settings, "run.directory=whole"), CURVES)
    interrupted = make_records(*settings, "run.directory=interrupted")
    started = []
    while part := replay(interrupted, CURVES, until=3):
        started += part
    assert started == whole
    assert max(map(started.count, started)) > 1


def test_no_trial_resumes_that_cannot_become_the_best():
    curves = {key: [0.5 if key == ("silu", 8) else 0.1] * 8 for key in CURVES}
    records = make_records(FREEZE_THAW, "TRIALS=12", "sweep.epochs=8", "model.activation=silu", "model.filters=8")
    started = replay(records, curves)
    assert find_best(records.read_trials()).score == 0.5
    epochs = sum(trial.epochs for trial in records.read_trials())
    assert epochs < 12 * 8 / 2
    assert len(started) < 20


def test_the_expected_excess_has_a_logarithm_everywhere():
    z = np.array([-300.0, -30.0, -20.01, -19.99, -2.0, 0.0, 3.0])
    x = np.linspace(-12, 12, 200_001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    integrals = [np.log(np.trapezoid(np.maximum(0, x + value) * density, x)) for value in z[4:]]
    found = _log_expected_excess(z)
    assert found[4:] == pytest.approx(integrals, abs=1e-6)
    assert found[2] == pytest.approx(found[3], abs=0.5)
    assert (np.diff(found) > 0).all()


def test_the_last_trial_continues_if_it_may_become_the_best():
    """It is as good as the best one so far, and a little better after its last epoch."""
    curves = {key: [0.3, 0.4] for key in CURVES} | {("gelu", 8): [0.3, 0.42]}
    space = "sweep.space={model.activation: [gelu], model.filters: [2, 8]}"
    records = make_records(space, "TRIALS=2", "sweep.epochs=2", "model.activation=gelu", "model.filters=2")
    replay(records, curves)
    assert [trial.status for trial in records.read_trials()] == ["completed", "completed"]
    assert find_best(records.read_trials()).settings["model.filters"] == 8
