"""The hyperparameters of a sweep as columns of a linear model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_inat.report.history import is_number
from keras_inat.report.statistics.estimates import format_value, shorten_setting

WIDEST = 3.0  # times as far from the middle as these, where a search that came close leaves its first trials
TAIL = 5  # per cent of the trials below what counts as a low value, and above a high one


@dataclass(frozen=True)
class Factor:
    """A hyperparameter as columns of the model.

    Attributes:
        setting: Dotted name.
        values: Of each trial; None where it does not apply.
        columns: `(trials, k)` float64: a number and its powers, or one for each choice but the first.
        points: Two values or all choices, each with its columns `(k,)`.
        middle: Of a number with powers, the columns `(k,)` half-way between the two values.
        logarithmic: Whether a number acts by factors, not by differences.
    """

    setting: str
    values: list[Any]
    columns: np.ndarray
    points: list[tuple[Any, np.ndarray]]
    middle: np.ndarray | None = None
    logarithmic: bool = False

    @property
    def is_number(self) -> bool:
        return all(value is None or is_number(value) for value in self.values)

    def name(self, index: int) -> str:
        """`learning_rate = 0.001`."""
        return f"`{shorten_setting(self.setting)}` = {format_value(self.points[index][0])}"


def build_factor(setting: str, values: list[Any], degree: int) -> Factor | None:
    """Columns for a hyperparameter, of a number its powers up to `degree`; None where it does not vary.

    Where it does not apply they are zero.
    """
    given = [value for value in values if value is not None]
    levels = sorted(set(given), key=lambda value: (0, value) if is_number(value) else (1, str(value)))
    if len(levels) < 2:
        return None
    applies = np.array([value is not None for value in values])
    if not all(is_number(value) for value in levels):
        columns = np.array([[float(value == level) for level in levels[1:]] for value in values])
        return Factor(setting, values, columns, [(level, _one_hot(i, len(levels))) for i, level in enumerate(levels)])
    low, high = np.percentile(given, [TAIL, 100 - TAIL], method="nearest").tolist()
    if low == high:
        low, high = levels[0], levels[-1]
    # Rates and widths that span a factor of four or more act by factors, not by differences.
    logarithmic = levels[0] > 0 and high / low >= 4
    scale = np.log if logarithmic else np.asarray
    ends = scale(np.array([low, high], float))
    place = np.zeros(len(values))
    place[applies] = (2 * scale(np.array(given, float)) - ends.sum()) / (ends[1] - ends[0])  # -1 and 1 at the two ends
    place = np.clip(place, -WIDEST, WIDEST)
    powers = np.arange(1, min(degree, len(levels) - 1) + 1)
    points = [(value, float(at) ** powers) for value, at in ((low, -1), (high, 1))]
    middle = np.zeros(len(powers)) if len(powers) > 1 else None
    return Factor(setting, values, place[:, None] ** powers, points, middle, logarithmic)


def _one_hot(index: int, count: int) -> np.ndarray:
    return np.eye(count)[index, 1:]


def find_conditions(factors: list[Factor]) -> list[np.ndarray]:
    """Whether hyperparameters that do not always apply do, each `(trials,)`, where no other one by itself says so.

    Without these columns, what goes with a hyperparameter that applies would be put down to one of its values.
    """
    columns = dict[tuple[bool, ...], None]()
    for factor in factors:
        applies = tuple(value is not None for value in factor.values)
        others = (other.values for other in factors if other is not factor)
        if not all(applies) and not any(_decides(values, applies) for values in others):
            columns[applies] = None
    return [np.array(column, float) for column in columns]


def _decides(values: list[Any], applies: tuple[bool, ...]) -> bool:
    """Whether equal values always go with the same answer."""
    return len(set(zip(map(str, values), applies, strict=True))) == len(set(map(str, values)))


def drop_aliased(factors: list[Factor]) -> tuple[list[Factor], dict[str, list[str]]]:
    """Leaves out what others determine, one at a time, from the last on.

    Returns:
        The factors that are left, and by the setting of each other one those that it cannot be told apart from.
    """
    kept, aliased = list(factors), dict[str, list[str]]()
    for factor in reversed(factors):
        rest = [other for other in kept if other is not factor]
        if not _adds(factor, rest):
            kept = rest
            without = {other.setting: [third for third in rest if third is not other] for other in rest}
            aliased[factor.setting] = [setting for setting, others in without.items() if _adds(factor, others)]
    return kept, aliased


def _adds(factor: Factor, others: list[Factor]) -> bool:
    """Whether all columns of a factor say what the others do not."""
    return _rank([*others, factor]) == _rank(others) + factor.columns.shape[1]


def _rank(factors: list[Factor]) -> int:
    if not factors:
        return 0
    columns = np.column_stack([factor.columns - factor.columns.mean(axis=0) for factor in factors])
    return int(np.linalg.matrix_rank(columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12)))
