import pytest

from keras_inat.errors import UserError
from keras_inat.search.pruning import (
    is_pruned_by_halving,
    is_pruned_by_median,
    list_rungs,
)
from keras_inat.search.records import Records
from keras_inat.search.runner import is_to_be_pruned
from keras_inat.settings.loading import load_config
from keras_inat.store.records import Trial


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, []), (2, []), (4, [2]), (5, [2]), (10, [2, 4]), (27, [3, 9]), (50, [2, 6, 17])]
)
def test_rungs_are_a_third_and_a_ninth_of_the_epochs_but_not_the_first_epoch(epochs, rungs):
    assert list_rungs(epochs) == rungs


def test_halving_keeps_the_best_third_of_the_trials_that_reached_the_rung():
    others = [[0.1, 0.2], [0.1, 0.3], [0.1, 0.4], [0.1, 0.5], [0.1, 0.6], [0.9]]  # the last has not reached the rung
    assert not is_pruned_by_halving([0.0, 0.55], others, 10)  # second of six
    assert is_pruned_by_halving([0.0, 0.45], others, 10)  # third of six
    assert not is_pruned_by_halving([0.0, 0.45, 0.45], others, 10)  # no rung
    assert not is_pruned_by_halving([0.0], others, 10)  # a slow start does not count
    assert not is_pruned_by_halving([0.0, 0.1], others[:2], 10)  # too few other trials


def test_of_equal_trials_the_later_ones_are_not_pruned():
    assert not is_pruned_by_halving([0.1, 0.1], [[0.1, 0.1]] * 5, 10)
    assert not is_pruned_by_median([0.1, 0.1], [[0.1, 0.1]] * 5, 10)


def test_the_median_rule_compares_the_best_accuracy_with_mean_accuracies():
    others = [[0.0, 0.2], [0.2, 0.4], [0.4, 0.6]]  # means 0.1, 0.3, 0.5
    assert is_pruned_by_median([0.0, 0.29], others, 10)
    assert not is_pruned_by_median([0.0, 0.31], others, 10)
    assert not is_pruned_by_median([0.0, 0.1], others[:2], 10)
    assert not is_pruned_by_median([0.0, 0.1], others, 2)  # it has ended anyway


def write_epochs(run, build_epoch, accuracies):
    for epoch, accuracy in enumerate(accuracies, 1):
        run.append_epoch(build_epoch(epoch, accuracy))


def test_a_curve_is_the_best_accuracy_so_far(build_epoch):
    records = Records(load_config(["NAME=s"]), "hash")
    folder = records.folder
    records.write_trial(Trial(id="7", values={}, settings={}))
    write_epochs(folder.trial_run("7"), build_epoch, [0.1, 0.3, 0.2, 0.4])
    with open(folder.trial_run("7").metrics, "a") as file:
        file.write('{"val_acc')  # cut short by a kill
    records.update_curve("7")
    assert records.read_curves() == {"7": [0.1, 0.3, 0.3, 0.4]}
    write_epochs(folder.trial_run("7"), build_epoch, [0.5])
    records.update_curve("7")
    assert records.read_curves() == {"7": [0.1, 0.3, 0.3, 0.4, 0.5]}


@pytest.mark.parametrize(("prune", "pruned"), [("halving", True), ("median", True), ("none", False)])
def test_a_trial_is_compared_with_the_recorded_epochs_of_the_others(prune, pruned, build_epoch):
    records = Records(load_config(["NAME=s", "sweep.epochs=4", f"sweep.prune={prune}"]), "hash")
    for trial_id, curve in {"0": [0.2, 0.3], "1": [0.2, 0.4], "2": [0.2, 0.5], "3": [0.1, 0.1]}.items():
        write_epochs(records.folder.trial_run(trial_id), build_epoch, curve)
        records.write_trial(Trial(id=trial_id, values={}, settings={}))
    assert is_to_be_pruned(records, None, "3") == pruned
    assert not is_to_be_pruned(records, None, "2")


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ([], "freeze-thaw"),
        (["sweep.oracle=random"], "halving"),
        (["sweep.prune=none"], "none"),
        (["sweep.oracle=grid", "sweep.prune=median"], "median"),
    ],
)
def test_the_rule_follows_from_the_oracle_unless_it_is_given(settings, rule):
    assert load_config(settings).sweep.rule == rule


def test_freeze_thaw_needs_the_bayesian_oracle():
    with pytest.raises(UserError, match=r"`sweep\.prune=freeze-thaw` needs `sweep\.oracle=bayesian`"):
        load_config(["sweep.oracle=random", "sweep.prune=freeze-thaw"])


def test_a_curve_is_that_of_the_objective(build_epoch):
    records = Records(load_config(["NAME=s"]), "hash")
    records.write_trial(Trial(id="0", values={}, settings={}, objective="balanced_accuracy"))
    for epoch, accuracy in enumerate([0.2, 0.4, 0.3], 1):
        record = build_epoch(epoch, accuracy).model_copy(update={"val_balanced_accuracy": 1 - accuracy})
        records.folder.trial_run("0").append_epoch(record)
    records.update_curve("0")
    assert records.read_curves() == {"0": [0.8, 0.8, 0.8]}
