"""Searches replayed from synthetic trials, and the recorded trials."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from keras_inat.bench import replay as bench_replay
from keras_inat.bench.replayed_search import METHODS, Search, read_recorded
from keras_inat.commands import replay as command
from keras_inat.errors import UserError
from keras_inat.settings.loading import load_config, override
from keras_inat.settings.recipes import RECIPES

SPACE = (
    "sweep.space={model.filters: [2, 4, 8, 16], model.activation: [relu, gelu], training.learning_rate: [1e-3, 1e-2]}"
)
NUM_EPOCHS = 6


@pytest.fixture
def config():
    return load_config(["NAME=s", "TRIALS=16", f"sweep.epochs={NUM_EPOCHS}", SPACE], None)


@pytest.fixture
def curves(config):
    """More filters are better, and GELU is better. All accuracies rise linearly."""
    table = {}
    for values in itertools.product(*config.sweep.space.values()):
        filters, activation, _ = values
        score = 0.3 + 0.1 * math.log2(filters) + 0.05 * (activation == "gelu")
        table[tuple(map(str, values))] = [score * epoch / NUM_EPOCHS for epoch in range(1, NUM_EPOCHS + 1)]
    return table


def test_search_finds_epochs_and_scores():
    search = Search()
    for configuration, epochs, score in [("a", 3, 0.2), ("b", 1, 0.0), ("a", 3, 0.5)]:
        search.add((configuration,), epochs, score)
    assert (search.best, search.epochs, search.repeats) == ([0.2, 0.2, 0.5], [3, 4, 7], 1)
    assert [search.count_epochs(score) for score in (0.1, 0.3, 0.6)] == [3, 7, None]
    assert [search.find_best(epochs) for epochs in (2, 3, 6, 7, 100)] == [0, 0.2, 0.2, 0.5, 0.5]


@pytest.mark.parametrize("method", ["random", "ours, without pruning", "Optuna's TPE, halving"])
def test_search_finds_the_best_of_a_small_space(method, config, curves, tmp_path):
    search = METHODS[method](config, curves, tmp_path, 90)
    assert search.best[-1] == pytest.approx(0.75)
    assert search.best == sorted(search.best)


def test_a_resumed_trial_costs_its_remaining_epochs_and_repeats_nothing(config, curves, tmp_path):
    search = METHODS["ours"](config, curves, tmp_path, 60)
    trained = [spent - before for before, spent in itertools.pairwise([0, *search.epochs])]
    assert trained[:3] == [6, 1, 1]  # the first trial is complete, and others begin
    assert sum(trained) == search.spent < 16 * 6
    assert len(search.tried) < len(trained)
    assert search.repeats == 0
    assert search.best[-1] == pytest.approx(0.75)


def test_pruned_trials_need_fewer_epochs(config, curves, tmp_path):
    search = METHODS["ours, with halving"](config, curves, tmp_path, 60)
    trained = [spent - before for before, spent in itertools.pairwise([0, *search.epochs])]
    assert set(trained) == {2, 6}
    assert trained[:3] == [6, 6, 6]


def test_search_ends_after_the_budget(config, curves, tmp_path):
    search = METHODS["random"](config, curves, tmp_path, 20)
    assert search.epochs == [6, 12, 18, 24]


def test_search_ends_with_the_space_and_repeats_nothing(config, curves, tmp_path):
    search = METHODS["ours, without pruning"](override(config, {"sweep.trials": 99}), curves, tmp_path, 999)
    assert (len(search.best), search.repeats) == (16, 0)


def test_repetitions_are_counted(config, tmp_path):
    choices = [2, 4, 6, 8]
    config = override(config, {"sweep.trials": 7, "sweep.space": {"model.filters": choices}})
    search = METHODS["KerasTuner's Bayesian"](config, {(str(n),): [n / 10] for n in choices}, tmp_path, 999)
    assert len(search.best) == 7
    assert search.repeats >= 3


def test_optunas_pruners_end_trials_early(config, curves, tmp_path):
    for method, trained in [("Optuna's TPE, halving", {2, 6}), ("the same from epoch 1", {1, 6})]:
        search = METHODS[method](config, curves, tmp_path, 60)
        assert {spent - before for before, spent in itertools.pairwise([0, *search.epochs])} == trained


def test_command_prints_a_row_for_each_method(config, curves, tmp_path, monkeypatch, capsys):
    with open(tmp_path / "trials.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*config.sweep.space, "val_accuracies"])
        writer.writerows([*values, " ".join(map(str, curve))] for values, curve in curves.items())
    monkeypatch.setattr(bench_replay, "RECORDED", {"replay-nature_tiny": tmp_path / "trials.csv"})
    monkeypatch.setattr(bench_replay, "load_config", lambda *_: config)
    monkeypatch.setattr(bench_replay, "NUM_SEEDS", 1)
    monkeypatch.setattr(bench_replay, "BUDGETS", (6, 60))
    command.run(config)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("s: 16 configurations of 6 epochs; 2 of them within 0.5 points of the best, 75.0%.")
    rows = [line for line in lines if line.startswith(tuple(METHODS))]
    assert len(rows) == len(METHODS)
    assert all("75.0%" in row for row in rows)
    assert Path("reports/replay-nature_tiny.png").stat().st_size > 10_000


def test_medians_have_bootstrap_intervals():
    epochs = np.array([10.0, 20.0, 30.0, 40.0, math.inf])
    assert bench_replay._describe(*bench_replay._estimate(epochs)) == "30 (10 to never)"
    assert bench_replay._describe(*bench_replay._estimate(np.full(40, math.inf))) == "never (never to never)"
    many = np.repeat([60.0, 80.0], 20)
    estimate, low, high = bench_replay._compare(many + 50, many)
    assert (estimate, low, high) == (50, 30, 70)
    assert bench_replay._compare(np.full(40, math.inf), many) == (math.inf, math.inf, math.inf)
    assert bench_replay._compare(np.full(40, math.inf), np.full(40, math.inf)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["sweep.epochs=3"], "does not hold every configuration"),
        (["sweep.space={training.learning_rate: [0.005]}"], "does not hold every configuration"),
        (["sweep.space={model.dropout: [0.0, 0.1]}"], "lists of choices for columns"),
        (["sweep.space={training.learning_rate: {min: 1e-3, max: 1e-2}}"], "lists of choices for columns"),
    ],
)
def test_configurations_without_record_cannot_be_replayed(changes, words):
    with pytest.raises(UserError, match=words):
        read_recorded(
            bench_replay.RECORDED["replay-nature_tiny"], load_config(changes, RECIPES / "replay-nature_tiny.yaml")
        )


@pytest.mark.parametrize("recipe", bench_replay.RECORDED)
def test_recorded_trials_cover_the_whole_space(recipe):
    config = load_config([], RECIPES / f"{recipe}.yaml")
    curves = read_recorded(bench_replay.RECORDED[recipe], config)
    space = itertools.product(*config.sweep.space.values())
    assert set(curves) == {tuple(map(str, values)) for values in space}
    assert {len(curve) for curve in curves.values()} == {config.sweep.epochs}
