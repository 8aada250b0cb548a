import pytest

from keras_inat.sweep.pruning import estimate_end, list_rungs, loses_by_halving, loses_by_median, read_curves


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, []), (2, []), (4, [2]), (5, [2]), (10, [2, 4]), (27, [3, 9]), (50, [2, 6, 17])]
)
def test_rungs_are_a_third_and_a_ninth_of_the_epochs_but_not_the_first_epoch(epochs, rungs):
    assert list_rungs(epochs) == rungs


def test_halving_keeps_the_best_third_of_those_that_reached_the_rung():
    others = [[0.1, 0.2], [0.1, 0.3], [0.1, 0.4], [0.1, 0.5], [0.1, 0.6], [0.9]]  # the last is not there yet
    assert not loses_by_halving([0.0, 0.55], others, 10)  # second of six
    assert loses_by_halving([0.0, 0.45], others, 10)  # third of six
    assert not loses_by_halving([0.0, 0.45, 0.45], others, 10)  # no rung
    assert not loses_by_halving([0.0], others, 10)  # slow starters are not judged by their first epoch
    assert not loses_by_halving([0.0, 0.1], others[:2], 10)  # nor any trial beside so few


def test_equals_are_not_pruned_for_coming_later():
    assert not loses_by_halving([0.1, 0.1], [[0.1, 0.1]] * 5, 10)
    assert not loses_by_median([0.1, 0.1], [[0.1, 0.1]] * 5, 10)


def test_the_median_rule_compares_the_best_so_far_with_mean_accuracies():
    others = [[0.0, 0.2], [0.2, 0.4], [0.4, 0.6]]  # means 0.1, 0.3, 0.5
    assert loses_by_median([0.0, 0.29], others, 10)
    assert not loses_by_median([0.0, 0.31], others, 10)
    assert not loses_by_median([0.0, 0.1], others[:2], 10)
    assert not loses_by_median([0.0, 0.1], others, 2)  # it has ended anyway


def test_a_pruned_trial_would_have_gained_what_the_finished_ones_did():
    finished = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.7], [0.0, 0.1, 0.3], [0.5]]
    assert estimate_end([0.05, 0.1], finished) == pytest.approx(0.1 + 0.2)
    assert estimate_end([0.05, 0.1], []) == 0.1


def test_curves_are_the_best_so_far(tmp_path):
    (tmp_path / "7").mkdir()
    lines = [f'{{"val_accuracy": {value}}}' for value in (0.1, 0.3, 0.2, 0.4)]
    (tmp_path / "7" / "metrics.jsonl").write_text("\n".join(lines) + '\n{"val_acc')  # the last cut short by a kill
    assert read_curves(tmp_path) == {"7": [0.1, 0.3, 0.3, 0.4]}
