"""What a sweep says of each hyperparameter with the others held fixed: one linear model over its completed trials.

A search does not vary its hyperparameters evenly: it comes back to what did well, so that values that have nothing to
do with accuracy travel with those that have. Each effect is therefore that of a regression on all of them together,
with standard errors that allow some trials to scatter more than others (HC3: MacKinnon & White 1985), and all intervals
hold at once (the largest of correlated t: Hothorn et al. 2008), so that many rows raise no false alarms.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import stats

from keras_inat.report import wording
from keras_inat.report.analysis import Estimate, format_value, shorten_setting
from keras_inat.report.factors import Factor, build_factor, drop_aliased, find_common
from keras_inat.report.records import SweepRecord, Trial

CONFIDENCE, DRAWS = 0.95, 4000
ALARMS = 0.001  # probability of any false interaction, were the model right; it is not quite
MIN_SPARE = 8  # trials beyond the numbers that are fitted to them
DEGREES = {4: 6, 2: 3, 1: 0}  # of polynomials, the first that leaves so many trials for each number fitted
ROOM = 3  # of these where interactions are looked for
FAR_OUT = 3.0  # interquartile ranges below the lower quartile (Tukey 1977), where trials have not learnt at all


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
    rows = find_common(table, len(trials))
    scores = np.array([trials[row].score for row in rows], dtype=float)
    for degree, room in DEGREES.items():
        built = (build_factor(name, [values[row] for row in rows], degree) for name, values in table.items())
        factors = [factor for factor in built if factor]
        size = 1 + sum(factor.columns.shape[1] for factor in factors)
        if len(rows) >= room * size:
            break
    if len(rows) < size + MIN_SPARE:
        return size + MIN_SPARE + len(sweep.completed) - len(rows)
    factors, aliased = drop_aliased(factors)
    if not factors or np.ptp(scores) == 0:
        return 0
    model = _Model(factors, scores)
    return Observations(
        model.observe(), model.find_interactions(), factors, model.fit(), model.residuals, aliased, model.explained,
        len(scores), left_out,
    )  # fmt: skip


def _leave_out(trials: list[Trial]) -> tuple[list[Trial], list[float]]:
    scores = [trial.score or 0.0 for trial in trials]
    if not scores:
        return [], []
    lower, upper = np.percentile(scores, [25, 75])
    limit = lower - FAR_OUT * (upper - lower)
    return [trial for trial in trials if (trial.score or 0.0) >= limit], [score for score in scores if score < limit]


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
