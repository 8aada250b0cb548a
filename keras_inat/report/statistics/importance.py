"""Permutation importance of hyperparameters: the effect of each one, of any shape, on a prediction of accuracy."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from keras_inat.report.statistics.estimates import Estimate
from keras_inat.report.sweep_history import SweepHistory, is_number, read_level

MIN_TRIALS = 24
TEST_FRACTION = 4  # one trial in so many is held out
NUM_SPLITS = 24
NUM_SHUFFLES = 5
NUM_TREES = 40
NOT_APPLICABLE = -1.0


def measure_importance(sweep: SweepHistory) -> list[tuple[str, Estimate]]:
    """Measures the permutation importance (Breiman 2001) of every hyperparameter for validation accuracy.

    A random forest learns the accuracy of three quarters of the trials. The importance of a hyperparameter is the
    increase of the mean absolute error on the other trials when its values are shuffled among them. The mean over
    random splits has an interval that allows for overlapping splits (Nadeau & Bengio 2003) and for the
    number of hyperparameters (Bonferroni).

    Returns:
        Settings and the increase of the error of the predicted accuracy, the largest first; empty with too few trials.
    """
    trials = sweep.completed
    if len(trials) < MIN_TRIALS or not sweep.settings or len({trial.score for trial in trials}) == 1:
        return []
    columns = [_encode_ordinal([read_level(trial, name) for trial in trials]) for name in sweep.settings]
    table = np.column_stack(columns)
    scores = np.array([trial.score for trial in trials], dtype=float)
    num_test = len(trials) // TEST_FRACTION
    increases = np.array([_measure_split(table, scores, num_test, seed) for seed in range(NUM_SPLITS)])
    means = increases.mean(axis=0)
    deviations = increases.std(axis=0, ddof=1)
    quantile = stats.t.ppf(1 - 0.025 / len(sweep.settings), NUM_SPLITS - 1)
    halves = quantile * deviations * math.sqrt(1 / NUM_SPLITS + num_test / (len(trials) - num_test))
    rows = [
        (name, Estimate(float(mean), float(mean - half), float(mean + half), len(trials), "trials"))
        for name, mean, half in zip(sweep.settings, means, halves, strict=True)
    ]
    return sorted(rows, key=lambda row: -row[1].value)


def _measure_split(table: np.ndarray, scores: np.ndarray, num_test: int, seed: int) -> np.ndarray:
    """Returns the increase of the error for each column, `(columns,)`, on one random split."""
    order = np.random.default_rng(seed).permutation(len(scores))
    test = order[:num_test]
    train = order[num_test:]
    forest = RandomForestRegressor(NUM_TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)
    forest.fit(table[train], scores[train])
    return _permute_columns(forest, table[test], scores[test], np.random.default_rng(seed))


# One `predict` for all shuffles takes 0.24 s for 24 forests and 7 columns, scikit-learn's permutation_importance 7.8 s.
def _permute_columns(
    forest: RandomForestRegressor, table: np.ndarray, scores: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Returns the increase of the mean absolute error when each column in turn is shuffled, `(columns,)`."""
    num_rows, num_columns = table.shape
    tables = np.tile(table, (num_columns * NUM_SHUFFLES + 1, 1, 1))  # the last one stays unshuffled
    for number in range(num_columns * NUM_SHUFFLES):
        column = number // NUM_SHUFFLES
        tables[number, :, column] = rng.permutation(table[:, column])
    predicted = forest.predict(tables.reshape(-1, num_columns)).reshape(-1, num_rows)
    errors = np.abs(predicted - scores).mean(axis=1)
    return errors[:-1].reshape(num_columns, NUM_SHUFFLES).mean(axis=1) - errors[-1]


def _encode_ordinal(values: Sequence[Any]) -> np.ndarray:
    """Encodes numbers as they are and choices by their alphabetical order, which is enough for trees."""
    if all(value is None or is_number(value) for value in values):
        return np.array([NOT_APPLICABLE if value is None else value for value in values], dtype=float)
    levels = sorted({str(value) for value in values if value is not None})
    return np.array([NOT_APPLICABLE if value is None else levels.index(str(value)) for value in values], dtype=float)
