"""What a sweep says of each hyperparameter with the others held fixed: one linear model over its completed trials.

A search does not vary its hyperparameters evenly: it comes back to what did well, so that values that have nothing to
do with accuracy travel with those that have. Each effect is therefore that of a regression on all of them together,
with standard errors that allow some trials to scatter more than others (HC3: MacKinnon & White 1985), and all intervals
hold at once (the largest of correlated t: Hothorn et al. 2008), so that many rows raise no false alarms.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from keras_inat.report import wording
from keras_inat.report.analysis import Estimate, format_value, shorten_setting
from keras_inat.report.records import SweepRecord, Trial
from keras_inat.report.story import is_number

CONFIDENCE, DRAWS = 0.95, 4000
ALARMS = 0.001  # probability of any false interaction, were the model right; it is not quite
MIN_SPARE = 8  # trials beyond the numbers that are fitted to them
DEGREES = {4: 6, 2: 3, 1: 0}  # of polynomials, the first that leaves so many trials for each number fitted
ROOM = 3  # of these where interactions are looked for
MIN_LEVEL = 2  # trials that a choice needs
FAR_OUT = 3.0  # interquartile ranges below the lower quartile (Tukey 1977), where trials have not learnt at all
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


@dataclass(frozen=True)
class Observation:
    """An effect on validation accuracy with the other hyperparameters held fixed, and a sentence where it is shown."""

    setting: str
    change: str
    estimate: Estimate
    says: str


@dataclass(frozen=True)
class Observations:
    """What is told of a sweep.

    Attributes:
        rows: One or more of each hyperparameter, in the order of the sweep's.
        interactions: Sentences about hyperparameters whose effects depend on one another, the surest first.
        factors: What the model is made of.
        fitted: By setting, the accuracy `(trials,)` that the model gives each trial with the others at their means.
        residuals: `(trials,)`, how far each trial is off the model.
        aliased: Settings that this sweep cannot tell apart from others.
        explained: The part of the variance of accuracy that the model explains.
        num: Trials that it is fitted to.
        left_out: Accuracies of those that fell so far behind that they would drown the rest.
    """

    rows: list[Observation]
    interactions: list[str]
    factors: list[Factor]
    fitted: dict[str, np.ndarray]
    residuals: np.ndarray
    aliased: list[str]
    explained: float
    num: int
    left_out: list[float]


def observe(sweep: SweepRecord) -> Observations | int:
    """What the completed trials of a sweep say; where they are too few, how many it would need."""
    trials, left_out = _leave_out(sweep.completed)
    table = {name: [trial.settings[name] for trial in trials] for name in sweep.settings}
    rows = _find_common(table, len(trials))
    scores = np.array([trials[row].score for row in rows], dtype=float)
    for degree, room in DEGREES.items():
        built = (build_factor(name, [values[row] for row in rows], degree) for name, values in table.items())
        factors = [factor for factor in built if factor]
        size = 1 + sum(factor.columns.shape[1] for factor in factors)
        if len(rows) >= room * size:
            break
    if len(rows) < size + MIN_SPARE:
        return size + MIN_SPARE + len(sweep.completed) - len(rows)
    factors, aliased = _drop_aliased(factors)
    if not factors or np.ptp(scores) == 0:
        return 0
    model = _Model(factors, scores)
    return Observations(
        model.observe(), model.find_interactions(), factors, model.fit(), model.residuals, aliased, model.explained,
        len(scores), left_out,
    )  # fmt: skip


def build_factor(setting: str, values: list[Any], degree: int) -> Factor | None:
    """Columns for a hyperparameter, of a number its powers up to `degree`; None where it does not vary.

    Where it does not apply they are zero.
    """
    given = [value for value in values if value is not None]
    levels = sorted(set(given), key=lambda value: (str(type(value)), value) if is_number(value) else ("", str(value)))
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
    powers = np.arange(1, min(degree, len(levels) - 1) + 1)
    points = [(value, float(at) ** powers) for value, at in ((low, -1), (high, 1))]
    middle = np.zeros(len(powers)) if len(powers) > 1 else None
    return Factor(setting, values, place[:, None] ** powers, points, middle, logarithmic)


def _one_hot(index: int, count: int) -> np.ndarray:
    return np.eye(count)[index, 1:]


def _leave_out(trials: list[Trial]) -> tuple[list[Trial], list[float]]:
    scores = [trial.score or 0.0 for trial in trials]
    if not scores:
        return [], []
    lower, upper = np.percentile(scores, [25, 75])
    limit = lower - FAR_OUT * (upper - lower)
    return [trial for trial in trials if (trial.score or 0.0) >= limit], [score for score in scores if score < limit]


def _find_common(table: dict[str, list[Any]], count: int) -> list[int]:
    """Trials without a choice that hardly any other made: nothing is known of it, and it would be fitted exactly."""
    rows = list(range(count))
    while True:
        rare = {
            row
            for values in table.values()
            if not all(value is None or is_number(value) for value in values)
            for row in rows
            if values[row] is not None and sum(values[other] == values[row] for other in rows) < MIN_LEVEL
        }
        if not rare:
            return rows
        rows = [row for row in rows if row not in rare]


def _drop_aliased(factors: list[Factor]) -> tuple[list[Factor], list[str]]:
    """Leaves out what others determine, one at a time, from the last on."""
    kept, aliased = list(factors), list[str]()
    for factor in reversed(factors):
        blocks = [other.columns - other.columns.mean(axis=0) for other in kept]
        if np.linalg.matrix_rank(np.column_stack(blocks)) == sum(block.shape[1] for block in blocks):
            break
        rest = [block for other, block in zip(kept, blocks, strict=True) if other is not factor]
        own = factor.columns - factor.columns.mean(axis=0)
        before = int(np.linalg.matrix_rank(np.column_stack(rest))) if rest else 0
        if np.linalg.matrix_rank(np.column_stack([*rest, own])) < before + own.shape[1]:
            kept.remove(factor)
            aliased.append(factor.setting)
    return kept, aliased


class _Model:
    """Least squares on the columns of all factors, each about its mean."""

    def __init__(self, factors: list[Factor], scores: np.ndarray) -> None:
        self.factors, self.scores = factors, scores
        blocks = [factor.columns - factor.columns.mean(axis=0) for factor in factors]
        ends = np.cumsum([1, *(block.shape[1] for block in blocks)]).tolist()
        self.places = [slice(*pair) for pair in itertools.pairwise(ends)]
        self.matrix = np.column_stack([np.ones(len(scores)), *blocks])
        self.coefficients, self.covariance, self.residuals = _regress(self.matrix, scores)

    @property
    def explained(self) -> float:
        return 1 - float(self.residuals.var() / self.scores.var())

    def fit(self) -> dict[str, np.ndarray]:
        return {
            factor.setting: self.scores.mean() + self.matrix[:, place] @ self.coefficients[place]
            for factor, place in zip(self.factors, self.places, strict=True)
        }

    def observe(self) -> list[Observation]:
        told = [
            (factor, place, change, weights)
            for factor, place in zip(self.factors, self.places, strict=True)
            for change, weights in _list_contrasts(factor)
        ]
        spread = np.zeros((len(told), self.matrix.shape[1]))
        for row, (_, place, _, weights) in enumerate(told):
            spread[row, place] = weights
        covariance = spread @ self.covariance @ spread.T
        errors = np.sqrt(np.diag(covariance))
        widths = _find_largest_t(covariance / np.outer(errors, errors), self._spare(self.matrix)) * errors
        rows = []
        for value, width, (factor, _, change, _) in zip(spread @ self.coefficients, widths, told, strict=True):
            num = sum(value is not None for value in factor.values)
            estimate = Estimate(float(value), float(value - width), float(value + width), num, "trials")
            says = _word(factor, change, estimate) if estimate.excludes_zero else ""
            rows.append(Observation(factor.setting, change, estimate, says))
        return rows

    def find_interactions(self) -> list[str]:
        """Pairs whose product improves the model, by Wald's test, hardly any of them false."""
        found = list[tuple[float, str]]()
        pairs = list(itertools.combinations(range(len(self.factors)), 2))
        for pair in pairs:
            # Of a number its own column, not its powers.
            places = [self.places[index] for index in pair]
            counts = [
                1 if self.factors[index].is_number else place.stop - place.start
                for index, place in zip(pair, places, strict=True)
            ]
            left, right = (self.matrix[:, place][:, :count] for place, count in zip(places, counts, strict=True))
            products = (left[:, :, None] * right[:, None, :]).reshape(len(self.scores), -1)
            matrix = np.column_stack([self.matrix, products])
            spare = self._spare(matrix)
            if len(matrix) < ROOM * matrix.shape[1] or np.linalg.matrix_rank(matrix) < matrix.shape[1]:
                continue
            coefficients, covariance, _ = _regress(matrix, self.scores)
            count = products.shape[1]
            part = coefficients[-count:]
            wald = float(part @ np.linalg.solve(covariance[-count:, -count:], part)) / count
            probability = float(stats.f.sf(wald, count, spare)) * len(pairs)
            if probability < ALARMS:
                found.append((probability, self._word_interaction(pair, counts, coefficients)))
        return [sentence for _, sentence in sorted(found)]

    def _word_interaction(self, pair: tuple[int, int], counts: list[int], coefficients: np.ndarray) -> str:
        first, second = (self.factors[index] for index in pair)
        (start, before), (end, after) = first.points[0], first.points[-1]
        place, mean = self.places[pair[0]], second.columns.mean(axis=0)[: counts[1]]
        slopes = coefficients[-counts[0] * counts[1] :].reshape(counts)
        change = (after - before)[: counts[0]]
        effects = [
            float((after - before) @ coefficients[place] + change @ slopes @ (columns[: counts[1]] - mean))
            for _, columns in (second.points[0], second.points[-1])
        ]
        points = [wording.signed(100 * effect, 1) for effect in effects]
        return (
            f"`{shorten_setting(first.setting)}` from {format_value(start)} to {format_value(end)}: {points[0]} points "
            f"where {second.name(0)}, {points[1]} where {second.name(-1)}."
        )

    def _spare(self, matrix: np.ndarray) -> int:
        return matrix.shape[0] - matrix.shape[1]


def _list_contrasts(factor: Factor) -> list[tuple[str, np.ndarray]]:
    """What is told of a factor: a text, and the weights of its coefficients."""
    names, columns = [format_value(value) for value, _ in factor.points], [columns for _, columns in factor.points]
    if factor.is_number:
        told = [(f"from {names[0]} to {names[1]}", columns[1] - columns[0])]
        if factor.middle is not None:
            told.append((f"half-way between {names[0]} and {names[1]}", factor.middle - (columns[0] + columns[1]) / 2))
        return told
    if len(columns) == 2:
        return [(f"{names[1]} against {names[0]}", columns[1] - columns[0])]
    total = np.sum(columns, axis=0)
    return [
        (f"{name} against the others", own - (total - own) / (len(columns) - 1))
        for name, own in zip(names, columns, strict=True)
    ]


def _word(factor: Factor, change: str, estimate: Estimate) -> str:
    """A sentence for an effect that is shown."""
    label, higher = f"`{shorten_setting(factor.setting)}`", estimate.value > 0
    value, between = wording.points(estimate)
    size = f"{value} points (95 % interval {between}, {wording.sample(estimate)})."
    if not factor.is_number:
        return f"{label} {change}: {size}"
    if change.startswith("from"):
        return f"{label}: {'larger' if higher else 'smaller'} is better, {change} {size}"
    return f"{label}: {'best' if higher else 'worst'} in the middle, {change} against these two {size}"


def _regress(matrix: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares: coefficients, their HC3 covariance, residuals."""
    inverse = np.linalg.inv(matrix.T @ matrix)
    coefficients = inverse @ matrix.T @ scores
    residuals = scores - matrix @ coefficients
    leverage = (matrix @ inverse * matrix).sum(axis=1)
    weighted = matrix * (residuals / np.maximum(1 - leverage, 1e-6))[:, None]
    return coefficients, inverse @ weighted.T @ weighted @ inverse, residuals


def _find_largest_t(correlation: np.ndarray, freedom: int) -> float:
    """What the largest of so correlated t stays below in 95 of 100 cases."""
    rng = np.random.default_rng(0)
    normal = rng.multivariate_normal(np.zeros(len(correlation)), correlation, DRAWS, check_valid="ignore")
    draws = normal / np.sqrt(rng.chisquare(freedom, (DRAWS, 1)) / freedom)
    return float(np.quantile(np.abs(draws).max(axis=1), CONFIDENCE))
