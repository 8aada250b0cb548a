"""What a sweep says of each hyperparameter with the others held fixed: one linear model over its trials.

A search does not vary its hyperparameters evenly: it comes back to what did well, so that values that have nothing to
do with accuracy travel with those that have. Each effect is therefore that of a regression on all of them together,
with standard errors that allow some trials to scatter more than others (HC3: MacKinnon & White 1985), and all intervals
hold at once (the largest of correlated t: Hothorn et al. 2008), so that many rows raise no false alarms.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import stats

from keras_inat.report import formatting
from keras_inat.report.groups import SweepHistory, Trial
from keras_inat.report.statistics.design_matrix import Factor, build_factor, drop_aliased, find_conditions
from keras_inat.report.statistics.estimates import Estimate, format_value, shorten_setting

CONFIDENCE, DRAWS = 0.95, 4000
ALARMS = 0.001  # probability of any false interaction, were the model right; it is not quite
MIN_SPARE = 8  # trials beyond the numbers that are fitted to them
DEGREES = {4: 6, 2: 3, 1: 0}  # of polynomials, the first that leaves so many trials for each number fitted
EXACT = 1e-6  # of accuracy, below which nothing is left to measure chance by
ROOM = 3  # of these where interactions are looked for
LEAST_RANGE = 0.02  # of accuracy that counts as an interquartile range: scores of few images are often equal
MIN_BEHIND = 6.0  # trials that an effect must rest on
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
        aliased: Settings that this sweep cannot tell apart from others, with these.
        explained: The part of the variance of accuracy that the model explains, adjusted for its size.
        num: Trials that it is fitted to.
        left_out: Accuracies of those that fell so far behind that they would drown the rest.
    """

    rows: list[Observation]
    interactions: list[str]
    factors: list[Factor]
    fitted: dict[str, np.ndarray]
    residuals: np.ndarray
    aliased: dict[str, list[str]]
    explained: float
    num: int
    left_out: list[float]


def observe(sweep: SweepHistory) -> Observations | str:
    """What the trials of a sweep on common ground say; where they say nothing, a sentence that says why."""
    trials, left_out = _leave_out(sweep.completed)
    scores = np.array([trial.score for trial in trials], dtype=float)
    for degree, room in DEGREES.items():
        built = (build_factor(name, [trial.settings[name] for trial in trials], degree) for name in sweep.settings)
        factors = [factor for factor in built if factor]
        size = 1 + sum(factor.columns.shape[1] for factor in factors) + len(find_conditions(factors))
        if len(trials) >= room * size:
            break
    if len(trials) < size + MIN_SPARE:
        needed = size + MIN_SPARE + len(left_out)
        had = f"{len(sweep.completed)} have an accuracy"
        return f"holding the others fixed takes {needed} trials of such a sweep, and {had}"
    factors, aliased = drop_aliased(factors)
    if not factors:
        return "none varies among the trials that have an accuracy"
    if np.ptp(scores) == 0:
        return "all trials have the same accuracy"
    model = _Model(factors, scores)
    if model.residuals.std() < EXACT:
        return "a sum of their effects gives each accuracy exactly, and so no measure of chance"
    return Observations(
        model.observe(), model.find_interactions(), factors, model.fit(), model.residuals, aliased, model.explained,
        len(scores), left_out,
    )  # fmt: skip


def _leave_out(trials: list[Trial]) -> tuple[list[Trial], list[float]]:
    scores = [trial.score or 0.0 for trial in trials]
    if not scores:
        return [], []
    lower, upper = np.percentile(scores, [25, 75])
    limit = lower - FAR_OUT * max(upper - lower, LEAST_RANGE)
    return [trial for trial in trials if (trial.score or 0.0) >= limit], [score for score in scores if score < limit]


class _Model:
    """Least squares on the columns of all factors, each about its mean, and on whether they apply."""

    def __init__(self, factors: list[Factor], scores: np.ndarray) -> None:
        self.factors, self.scores = factors, scores
        blocks = [factor.columns - factor.columns.mean(axis=0) for factor in factors]
        ends = np.cumsum([1, *(block.shape[1] for block in blocks)]).tolist()
        self.places = [slice(*pair) for pair in itertools.pairwise(ends)]
        self.matrix = np.column_stack([np.ones(len(scores)), *blocks])
        for column in find_conditions(factors):
            wider = np.column_stack([self.matrix, column - column.mean()])
            if np.linalg.matrix_rank(wider) == wider.shape[1]:
                self.matrix = wider
        self.coefficients, self.covariance, self.residuals, self.influence = _regress(self.matrix, scores)

    @property
    def explained(self) -> float:
        plain = float(self.residuals.var() / self.scores.var())
        return max(0.0, 1 - plain * (len(self.scores) - 1) / self._spare(self.matrix))

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
        firm = _count_behind(spread @ self.influence) >= MIN_BEHIND
        spread, told = spread[firm], list(itertools.compress(told, firm))
        if not told:
            return []
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
            coefficients, covariance, residuals, influence = _regress(matrix, self.scores)
            count = products.shape[1]
            if _count_behind(influence[-count:]).min() < MIN_BEHIND or residuals.std() < EXACT:
                continue
            part = coefficients[-count:]
            wald = float(part @ np.linalg.solve(covariance[-count:, -count:], part)) / count
            probability = float(stats.f.sf(wald, count, spare)) * len(pairs)
            if probability < ALARMS:
                part_covariance = covariance[-count:, -count:] * count * float(stats.f.ppf(CONFIDENCE, count, spare))
                sentence = self._word_interaction(pair, counts, coefficients, part_covariance, probability)
                found.append((probability, sentence))
        return [sentence for _, sentence in sorted(found)]

    def _word_interaction(
        self,
        pair: tuple[int, int],
        counts: list[int],
        coefficients: np.ndarray,
        covariance: np.ndarray,
        probability: float,
    ) -> str:
        """Says the effect of a change of the first, where the second makes the most and the least of it.

        The interval of how far these are apart is Scheffé's, which holds for every choice of the two: `covariance` is
        that of the products, times the square of what its standard errors are to be multiplied by.
        """
        first, second = (self.factors[index] for index in pair)
        place, mean = self.places[pair[0]], second.columns.mean(axis=0)[: counts[1]]
        slopes = coefficients[-counts[0] * counts[1] :].reshape(counts)

        def measure(before: np.ndarray, after: np.ndarray) -> np.ndarray:
            change = after - before
            at = np.array([columns[: counts[1]] - mean for _, columns in second.points])
            return 100 * (change @ coefficients[place] + at @ slopes.T @ change[: counts[0]])

        changes = list(itertools.combinations(first.points, 2))
        (start, before), (end, after) = max(changes, key=lambda ends: np.ptp(measure(ends[0][1], ends[1][1])))
        effects = measure(before, after)
        least, most = np.argsort(effects)[[0, -1]]
        told = [f"{formatting.signed(effects[i], 1)} points where {second.name(i)}" for i in (least, most)]
        turn = second.points[most][1][: counts[1]] - second.points[least][1][: counts[1]]
        weights = np.outer((after - before)[: counts[0]], turn).ravel()
        apart, half = effects[most] - effects[least], 100 * float(np.sqrt(weights @ covariance @ weights))
        return (
            f"`{shorten_setting(first.setting)}` from {format_value(start)} to {format_value(end)}: {told[0]}, "
            f"{told[1]}; these are {apart:.1f} apart (95{formatting.SPACE}% interval {apart - half:.1f} to "
            f"{apart + half:.1f}, n{formatting.SPACE}={formatting.SPACE}{len(self.scores):,} trials; "
            f"p = {probability:.1g}, all pairs of hyperparameters allowed for)."
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
    value, between = formatting.points(estimate)
    against = ", against the mean of these two" if change.startswith("half-way") else ""
    size = f"{value} points (95 % interval {between}, {formatting.sample(estimate)})."
    return f"`{shorten_setting(factor.setting)}` {change}{against}: {size}"


def _regress(matrix: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Least squares: coefficients, their HC3 covariance, residuals, and what each coefficient takes of each score."""
    influence = np.linalg.inv(matrix.T @ matrix) @ matrix.T
    coefficients = influence @ scores
    residuals = scores - matrix @ coefficients
    leverage = (matrix * influence.T).sum(axis=1)
    weighted = influence * (residuals / np.maximum(1 - leverage, 1e-6))
    return coefficients, weighted @ weighted.T, residuals, influence


def _count_behind(influence: np.ndarray) -> np.ndarray:
    """Trials that effects rest on: of a mean of n that is n, and near 1 where one trial decides, which fits itself."""
    squares = influence**2
    return squares.sum(axis=1) ** 2 / np.maximum((squares**2).sum(axis=1), 1e-300)


def _find_largest_t(correlation: np.ndarray, freedom: int) -> float:
    """What the largest of so correlated t stays below in 95 of 100 cases."""
    rng = np.random.default_rng(0)
    normal = rng.multivariate_normal(np.zeros(len(correlation)), correlation, DRAWS, check_valid="ignore")
    draws = normal / np.sqrt(rng.chisquare(freedom, (DRAWS, 1)) / freedom)
    return float(np.quantile(np.abs(draws).max(axis=1), CONFIDENCE))
