"""Importance of hyperparameters by themselves: rank correlation with accuracy, and permutation importance.

Both describe the trials of a sweep, which a search does not spread evenly. They have no interval, so that they are not
read as results: in simulated searches, a third of the correlations without any effect excluded zero at 95 %.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor

from keras_inat.reporting.formatting import setting_value
from keras_inat.reporting.sweep_history import SweepHistory, is_number, read_level

MIN_TRIALS = 8  # for a correlation
MIN_FOREST_TRIALS = 24
TEST_FRACTION = 4  # one trial in so many is held out
NUM_SPLITS = 12
NUM_SHUFFLES = 5
NUM_TREES = 40
NOT_APPLICABLE = -1.0


def correlate_settings(sweep: SweepHistory) -> dict[str, tuple[float, str]]:
    """Returns Spearman's rank correlation of every hyperparameter with the score of the trials, the strongest first.

    Of several choices, the one with the strongest correlation is compared with all others and named; a number has no
    such choice. Trials to which a hyperparameter does not apply are excluded. A choice that a single trial has, or that
    a single trial lacks, is not compared.
    """
    correlations = dict[str, tuple[float, str]]()
    for setting in sweep.settings:
        trials = [trial for trial in sweep.completed if read_level(trial, setting) is not None]
        if len(trials) < MIN_TRIALS or len({trial.score for trial in trials}) == 1:
            continue
        scores = np.array([trial.score for trial in trials], dtype=float)
        columns = encode_setting([read_level(trial, setting) for trial in trials])
        rows = [(float(spearmanr(column, scores).statistic), level) for level, column in columns]
        if rows:
            correlations[setting] = max(rows, key=lambda row: abs(row[0]))
    return dict(sorted(correlations.items(), key=lambda item: -abs(item[1][0])))


def encode_setting(values: Sequence[Any]) -> list[tuple[str, np.ndarray]]:
    """Encodes the values of a hyperparameter as columns, each with its choice.

    Numbers are one column without a choice. Choices are indicator columns, one for each, or a single one for two.
    """
    levels = sorted(set(values), key=str)
    if len(levels) < 2:
        return []
    if all(is_number(value) for value in values):
        return [("", np.array(values, dtype=float))]
    if len(levels) == 2:
        levels = levels[1:]
    columns = [(setting_value(level), np.array([float(value == level) for value in values])) for level in levels]
    return [(level, column) for level, column in columns if 2 <= column.sum() <= len(values) - 2]


def measure_importance(sweep: SweepHistory) -> dict[str, float]:
    """Measures the permutation importance (Breiman 2001) of every hyperparameter for the score of a trial.

    A random forest learns the accuracy of three quarters of the trials. The importance of a hyperparameter is the
    increase of the mean absolute error on the other trials when its values are shuffled among them, the mean over
    random splits. The largest comes first. There is none with too few trials.
    """
    trials = sweep.completed
    names = sweep.settings
    if len(trials) < MIN_FOREST_TRIALS or not names or len({trial.score for trial in trials}) == 1:
        return {}
    table = np.column_stack([_encode_ordinal([read_level(trial, name) for trial in trials]) for name in names])
    scores = np.array([trial.score for trial in trials], dtype=float)
    num_test = len(trials) // TEST_FRACTION
    increases = np.mean([_measure_split(table, scores, num_test, seed) for seed in range(NUM_SPLITS)], axis=0)
    return dict(sorted(zip(names, increases.tolist(), strict=True), key=lambda row: -row[1]))


def _measure_split(table: np.ndarray, scores: np.ndarray, num_test: int, seed: int) -> np.ndarray:
    """Returns the increase of the mean absolute error when each column is shuffled, `(columns,)`, on one split."""
    order = np.random.default_rng(seed).permutation(len(scores))
    test = order[:num_test]
    train = order[num_test:]
    forest = RandomForestRegressor(NUM_TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)
    forest.fit(table[train], scores[train])
    # One `predict` for all shuffles takes 0.24 s for 24 forests and 7 columns, `permutation_importance` 7.8 s.
    rng = np.random.default_rng(seed)
    num_columns = table.shape[1]
    tables = np.tile(table[test], (num_columns * NUM_SHUFFLES + 1, 1, 1))  # the last one stays unshuffled
    for number in range(num_columns * NUM_SHUFFLES):
        column = number // NUM_SHUFFLES
        tables[number, :, column] = rng.permutation(table[test, column])
    predicted = forest.predict(tables.reshape(-1, num_columns)).reshape(-1, num_test)
    errors = np.abs(predicted - scores[test]).mean(axis=1)
    return errors[:-1].reshape(num_columns, NUM_SHUFFLES).mean(axis=1) - errors[-1]


def _encode_ordinal(values: Sequence[Any]) -> np.ndarray:
    """Encodes numbers as they are and choices by their alphabetical order, which is enough for trees."""
    if not all(value is None or is_number(value) for value in values):
        levels = sorted({str(value) for value in values if value is not None})
        values = [None if value is None else levels.index(str(value)) for value in values]
    return np.array([NOT_APPLICABLE if value is None else value for value in values], dtype=float)
