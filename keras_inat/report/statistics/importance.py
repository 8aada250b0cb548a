"""How much of what can be foreseen of a trial's accuracy hangs on each hyperparameter, whatever its effect's shape."""

import math
from typing import Any

import numpy as np
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from keras_inat.report.groups import SweepHistory
from keras_inat.report.history import is_number
from keras_inat.report.statistics.estimates import Estimate

MIN_TRIALS = 24  # of which a quarter is held out
SPLITS, REPEATS, TREES = 24, 5, 40
ABSENT = -1.0


def measure_importance(sweep: SweepHistory) -> list[tuple[str, Estimate]]:
    """Permutation importance (Breiman 2001): what a random forest that foretells accuracy loses by each.

    A forest learns from three quarters of the trials; of the rest one hyperparameter's values are shuffled,
    and the mean absolute error grows by so much. Over random splits, whose forests share trials: the interval allows
    for that (Nadeau & Bengio 2003), and for there being so many of them (Bonferroni).

    Returns:
        Settings and the growth of the error as a share of accuracy, the largest first; none where trials are too few.
    """
    trials = sweep.completed
    if len(trials) < MIN_TRIALS or not sweep.settings or len({trial.score for trial in trials}) == 1:
        return []
    table = np.column_stack([_number([trial.settings[name] for trial in trials]) for name in sweep.settings])
    scores = np.array([trial.score for trial in trials], dtype=float)
    held = len(trials) // 4
    drops = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(trials))
        rest, out = order[held:], order[:held]
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)
        forest.fit(table[rest], scores[rest])
        drops.append(_shuffle(forest, table[out], scores[out], np.random.default_rng(seed)))
    means, spreads = np.mean(drops, axis=0), np.std(drops, axis=0, ddof=1)
    reach = stats.t.ppf(1 - 0.025 / len(sweep.settings), SPLITS - 1)
    halves = reach * spreads * math.sqrt(1 / SPLITS + held / (len(trials) - held))
    rows = [
        (name, Estimate(float(mean), float(mean - half), float(mean + half), len(trials), "trials"))
        for name, mean, half in zip(sweep.settings, means, halves, strict=True)
    ]
    return sorted(rows, key=lambda row: -row[1].value)


def _shuffle(forest: Any, table: np.ndarray, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By how much the mean absolute error grows where each column in turn is shuffled, `(columns,)`."""
    count, size = table.shape[1], len(table)
    shuffled = np.tile(table, (count * REPEATS + 1, 1, 1))  # the last as it is
    for number in range(count * REPEATS):
        column = number // REPEATS
        shuffled[number, :, column] = rng.permutation(table[:, column])
    errors = np.abs(forest.predict(shuffled.reshape(-1, count)).reshape(-1, size) - scores).mean(axis=1)
    return errors[:-1].reshape(count, REPEATS).mean(axis=1) - errors[-1]


def _number(values: list[Any]) -> np.ndarray:
    """Numbers as they are, choices in alphabetical order: trees need no more."""
    if all(value is None or is_number(value) for value in values):
        return np.array([ABSENT if value is None else value for value in values], dtype=float)
    levels = sorted({str(value) for value in values if value is not None})
    return np.array([ABSENT if value is None else levels.index(str(value)) for value in values], dtype=float)
