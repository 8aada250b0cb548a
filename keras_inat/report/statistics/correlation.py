"""Rank correlation of hyperparameters with validation accuracy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from keras_inat.intervals import Z
from keras_inat.report.formatting import setting_name, setting_value
from keras_inat.report.statistics.estimates import Estimate
from keras_inat.report.sweep_history import SweepHistory, is_number, read_level

# With fewer trials the interval loses its coverage: simulations gave 10 % false positives at n = 6.
MIN_TRIALS = 8


@dataclass(frozen=True)
class SettingCorrelation:
    """Spearman's rank correlation of a hyperparameter with validation accuracy.

    Attributes:
        setting: Dotted name.
        level: The choice that is compared with all others; empty for a number.
        estimate: The correlation.
    """

    setting: str
    level: str
    estimate: Estimate

    @property
    def label(self) -> str:
        """`learning_rate`, or `activation = gelu` for a choice."""
        name = setting_name(self.setting)
        return f"{name} = {self.level}" if self.level else name


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Returns Spearman's rank correlation with the interval of Bonett & Wright (2000). Ties get their mean rank.

    Ranks are used because a single failed trial would dominate a correlation of values, and because a learning rate has
    no natural scale.
    """
    rho = float(stats.spearmanr(first, second).statistic)
    num = len(first)
    if abs(rho) > 1 - 1e-12:
        perfect = math.copysign(1.0, rho)
        return Estimate(perfect, perfect, perfect, num, "trials")
    half = Z * math.sqrt((1 + rho**2 / 2) / (num - 3))
    return Estimate(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), num, "trials")


def correlate_settings(sweep: SweepHistory) -> list[SettingCorrelation]:
    """Returns the correlation of every hyperparameter with validation accuracy, the strongest first.

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
