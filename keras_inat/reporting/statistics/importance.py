"""Importance of hyperparameters by themselves: rank correlation with accuracy, and permutation importance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit
from sklearn.ensemble import RandomForestRegressor

from keras_inat.intervals import Estimate, correlate_ranks
from keras_inat.reporting.formatting import setting_name, setting_value
from keras_inat.reporting.sweep_history import SweepHistory, is_number, read_level

MIN_TRIALS = 8  # for a correlation; at n = 6, simulations of its interval gave 10 % false positives
MIN_FOREST_TRIALS = 24
TEST_FRACTION = 4  # one trial in so many is held out
NUM_SPLITS = 24
NUM_SHUFFLES = 5
NUM_TREES = 40
NOT_APPLICABLE = -1.0


@dataclass(frozen=True)
class SettingCorrelation:
    """Spearman's rank correlation of a hyperparameter with the score of the trials."""

    setting: str  # dotted name
    level: str  # the choice that is compared with all others; empty for a number
    estimate: Estimate

    @property
    def label(self) -> str:
        """`learning_rate`, or `activation = gelu` for a choice."""
        name = setting_name(self.setting)
        return f"{name} = {self.level}" if self.level else name


def correlate_settings(sweep: SweepHistory) -> list[SettingCorrelation]:
    """Returns the correlation of every hyperparameter with the score of the trials, the strongest first.

    Trials to which a hyperparameter does not apply are excluded from its row. A choice that a single trial has, or
    that a single trial lacks, gets no row.
    """
    correlations = []
    for setting in sweep.settings:
        trials = [trial for trial in sweep.completed if read_level(trial, setting) is not None]
        if len(trials) < MIN_TRIALS or len({trial.score for trial in trials}) == 1:
            continue
        scores = np.array([trial.score for trial in trials], dtype=float)
        for level, column in encode_setting([read_level(trial, setting) for trial in trials]):
            correlations.append(SettingCorrelation(setting, level, correlate_ranks(column, scores)))
    return sorted(correlations, key=lambda correlation: -abs(correlation.estimate.value))


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


def measure_importance(sweep: SweepHistory) -> list[tuple[str, Estimate]]:
    """Measures the permutation importance (Breiman 2001) of every hyperparameter for the score of a trial.

    A random forest learns the accuracy of three quarters of the trials. The importance of a hyperparameter is the
    increase of the mean absolute error on the other trials when its values are shuffled among them. The mean over
    random splits has an interval that allows for overlapping splits (Nadeau & Bengio 2003) and for the
    number of hyperparameters (Bonferroni). The largest comes first. There is none with too few trials.
    """
    trials = sweep.completed
    names = sweep.settings
    if len(trials) < MIN_FOREST_TRIALS or not names or len({trial.score for trial in trials}) == 1:
        return []
    table = np.column_stack([_encode_ordinal([read_level(trial, name) for trial in trials]) for name in names])
    scores = np.array([trial.score for trial in trials], dtype=float)
    num_test = len(trials) // TEST_FRACTION
    increases = np.array([_measure_split(table, scores, num_test, seed) for seed in range(NUM_SPLITS)])
    means = increases.mean(axis=0)
    quantile = stdtrit(NUM_SPLITS - 1, 1 - 0.025 / len(names))
    errors = increases.std(axis=0, ddof=1) * math.sqrt(1 / NUM_SPLITS + num_test / (len(trials) - num_test))
    rows = []
    for name, mean, half in zip(names, means.tolist(), (quantile * errors).tolist(), strict=True):
        rows.append((name, Estimate(mean, mean - half, mean + half, len(trials), "trials")))
    return sorted(rows, key=lambda row: -row[1].value)


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
