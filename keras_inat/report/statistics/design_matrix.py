"""Hyperparameters of a sweep as columns of a linear model."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_inat.report.formatting import setting_name, setting_value
from keras_inat.report.sweep_history import is_number

MAX_DISTANCE = 3.0  # limits the leverage of the first trials of a search that has converged since; low and high are ±1
TAIL = 5  # percentile of the values that counts as low; 100 minus it as high
LOGARITHMIC_RATIO = 4  # of high to low, from which a positive number is taken as its logarithm


@dataclass(frozen=True)
class Factor:
    """A hyperparameter as columns of a linear model.

    Attributes:
        setting: Dotted name.
        values: One for each trial; None where the hyperparameter does not apply.
        columns: `(trials, k)` float64: a number and its powers, or an indicator of each choice but the first.
        points: Two values of a number, low and high, or all choices, each with its columns `(k,)`.
        middle: The columns `(k,)` half-way between low and high; None for a linear number and for choices.
        logarithmic: Whether a number is taken as its logarithm.
    """

    setting: str
    values: list[Any]
    columns: np.ndarray
    points: list[tuple[Any, np.ndarray]]
    middle: np.ndarray | None = None
    logarithmic: bool = False

    @functools.cached_property
    def is_number(self) -> bool:
        return all(value is None or is_number(value) for value in self.values)

    def describe_point(self, index: int) -> str:
        """Returns `learning_rate` = 0.001."""
        return f"`{setting_name(self.setting)}` = {setting_value(self.points[index][0])}"


def build_factor(setting: str, values: list[Any], degree: int) -> Factor | None:
    """Encodes a hyperparameter. The columns are zero where it does not apply.

    Args:
        setting: Dotted name.
        values: One for each trial; None where the hyperparameter does not apply.
        degree: The highest power of a number.

    Returns:
        None when the hyperparameter does not vary.
    """
    levels = sorted({value for value in values if value is not None}, key=_sort_key)
    if len(levels) < 2:
        return None
    if all(is_number(value) for value in levels):
        return _encode_number(setting, values, levels, degree)
    columns = np.array([[float(value == level) for level in levels[1:]] for value in values])
    points = list(zip(levels, np.eye(len(levels))[:, 1:], strict=True))
    return Factor(setting, values, columns, points)


def _sort_key(value: Any) -> tuple[int, Any]:
    return (0, value) if is_number(value) else (1, str(value))


def _encode_number(setting: str, values: list[Any], levels: list[Any], degree: int) -> Factor:
    given = [value for value in values if value is not None]
    low, high = np.percentile(given, [TAIL, 100 - TAIL], method="nearest").tolist()
    if low == high:
        low = levels[0]
        high = levels[-1]
    logarithmic = levels[0] > 0 and high / low >= LOGARITHMIC_RATIO
    scale = np.log if logarithmic else np.asarray
    ends = scale(np.array([low, high], float))
    positions = np.zeros(len(values))
    applies = np.array([value is not None for value in values])
    positions[applies] = (2 * scale(np.array(given, float)) - ends.sum()) / (ends[1] - ends[0])
    positions = np.clip(positions, -MAX_DISTANCE, MAX_DISTANCE)
    powers = np.arange(1, min(degree, len(levels) - 1) + 1)
    points = [(low, (-1.0) ** powers), (high, 1.0**powers)]
    middle = np.zeros(len(powers)) if len(powers) > 1 else None
    return Factor(setting, values, positions[:, None] ** powers, points, middle, logarithmic)


def build_applicability_columns(factors: Sequence[Factor]) -> list[np.ndarray]:
    """Returns indicator columns `(trials,)` of conditional hyperparameters: 1 where they apply, 0 elsewhere.

    Hyperparameters whose applicability is a function of another hyperparameter get none. Without these columns the
    effect of a conditional hyperparameter being applied would be attributed to one of its values.
    """
    columns = dict[tuple[bool, ...], None]()
    for factor in factors:
        applies = tuple(value is not None for value in factor.values)
        others = (other.values for other in factors if other is not factor)
        if not all(applies) and not any(_determines(values, applies) for values in others):
            columns[applies] = None
    return [np.array(column, float) for column in columns]


def _determines(values: list[Any], applies: tuple[bool, ...]) -> bool:
    """Returns whether equal values always come with the same applicability."""
    texts = list(map(str, values))
    return len(set(zip(texts, applies, strict=True))) == len(set(texts))


def drop_aliased(factors: list[Factor]) -> tuple[list[Factor], dict[str, list[str]]]:
    """Drops factors that the other factors determine, one at a time, the last first.

    Returns:
        The remaining factors, and by the setting of each dropped one the settings that it is aliased with.
    """
    kept = list(factors)
    aliased = dict[str, list[str]]()
    for factor in reversed(factors):
        rest = [other for other in kept if other is not factor]
        if not _is_independent(factor, rest):
            kept = rest
            without = {other.setting: [third for third in rest if third is not other] for other in rest}
            aliased[factor.setting] = [
                setting for setting, others in without.items() if _is_independent(factor, others)
            ]
    return kept, aliased


def _is_independent(factor: Factor, others: list[Factor]) -> bool:
    """Returns whether no column of a factor is a linear combination of the other columns."""
    return _rank([*others, factor]) == _rank(others) + factor.columns.shape[1]


def _rank(factors: list[Factor]) -> int:
    if not factors:
        return 0
    columns = np.column_stack([factor.columns - factor.columns.mean(axis=0) for factor in factors])
    return int(np.linalg.matrix_rank(columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12)))
