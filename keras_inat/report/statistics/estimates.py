"""The numbers that the report states, each with its 95 % interval and what it was counted over."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from keras_inat.intervals import Z, accuracy_interval, join_intervals, mean_interval, wilson_interval
from keras_inat.report.groups import Predictions, SeedGroup, SweepHistory, Trial
from keras_inat.report.history import is_number

# Below, the interval of a rank correlation no longer holds what it says (simulated: 10 % false alarms at n = 6).
MIN_TRIALS = 8
NUM_BINS, NUM_DRAWS = 10, 400


@dataclass(frozen=True)
class Estimate:
    """A value between the ends of its 95 % interval, from `num` of `unit`."""

    value: float
    low: float
    high: float
    num: int
    unit: str

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Effect:
    """How a hyperparameter went with validation accuracy in a sweep: Spearman's rank correlation."""

    setting: str
    level: str
    estimate: Estimate

    @property
    def label(self) -> str:
        """`learning_rate`, or `activation = gelu` for one choice against the others."""
        return f"{shorten_setting(self.setting)} = {self.level}" if self.level else shorten_setting(self.setting)


@dataclass(frozen=True)
class Axis:
    """An axis of the parallel coordinates; positions run from 0 (bottom) to 1, None where a trial has no value."""

    label: str
    positions: list[float | None]
    ticks: list[tuple[float, str]] = field(default_factory=list)


def estimate_share(correct: int, total: int) -> Estimate:
    """A proportion with Wilson's score interval."""
    return Estimate(correct / total, *wilson_interval(correct, total), total, "images")


def estimate_mean(values: Sequence[float], unit: str) -> Estimate:
    """A mean of at least two values with Student's t interval."""
    return Estimate(float(np.mean(values)), *mean_interval(values), len(values), unit)


def estimate_accuracy(group: SeedGroup, key: str = "test") -> Estimate | None:
    """Accuracy of a group on its `test` or `validation` images, the mean over seeds where there are several.

    Returns:
        None where the group has none, as when the judgement of a run is missing.
    """
    name = {"test": "test_accuracy", "validation": "val_accuracy"}[key]
    values = [record.result[name] for record in group.records if record.result.get(name) is not None]
    if not values:
        return None
    total = group.best.data["counts"][key]
    if len(values) > 1:
        return Estimate(float(np.mean(values)), *accuracy_interval(values, total), len(values), "seeds")
    return estimate_share(round(values[0] * total), total)


def estimate_best(sweep: SweepHistory) -> Estimate | None:
    """Validation accuracy of a sweep's best trial; None where there is none, or where its images are not known."""
    if sweep.best is None or sweep.best.score is None or sweep.data is None:
        return None
    total = sweep.data["counts"]["validation"]
    return estimate_share(round(sweep.best.score * total), total)


def compare_predictions(pairs: Sequence[tuple[Predictions, Predictions]]) -> Estimate | None:
    """How much more often the second of each pair is right than the first, over the same images.

    Over images the interval is Bonett and Price's (2012) for paired proportions, which stays honest when the two rarely
    differ; of several pairs, which are of as many seeds, it allows for other seeds, too.

    Returns:
        None when there is no pair, or not all judged the same images.
    """
    everyone = [predictions for pair in pairs for predictions in pair]
    if not all(_judged_the_same(everyone[0], other) for other in everyone):
        return None
    gains = np.array([second.correct.astype(float) - first.correct for first, second in pairs])
    if not gains.size:
        return None
    value, by_image = float(gains.mean()), gains.mean(axis=0)
    total = len(by_image) + 2  # with an image more that is gained, and one that is lost
    mean = float(by_image.sum()) / total
    half = Z * math.sqrt(((float((by_image**2).sum()) + 2) / total - mean**2) / total)
    low, high = mean - half, mean + half
    if len(gains) > 1:
        low, high = join_intervals(value, (low, high), mean_interval(gains.mean(axis=1)))
    num, unit = (len(gains), "seeds") if len(gains) > 1 else (len(by_image), "images")
    return Estimate(value, max(-1.0, low), min(1.0, high), num, unit)


def compare_classes(first: Predictions, second: Predictions, classes: Sequence[str]) -> list[tuple[str, Estimate]]:
    """The same for the images of each class by itself, the largest gain first; a class without images is left out."""
    if not _judged_the_same(first, second):
        return []
    gains = []
    for label, name in enumerate(classes):
        of_class = first.labels == label
        if gain := compare_predictions([(first.select(of_class), second.select(of_class))]):
            gains.append((name, gain))
    return sorted(gains, key=lambda entry: -entry[1].value)


def compare_groups(first: SeedGroup, second: SeedGroup) -> Estimate | None:
    """How much higher the test accuracy of `second` is than that of `first`, image by image.

    Over the seeds that both have where these are several, otherwise of the best run of each.

    Returns:
        None where predictions are missing, or are not of the same images.
    """
    before, after = ({record.result["seed"]: record for record in group.records} for group in (first, second))
    shared = sorted(before.keys() & after.keys())
    pairs = [(before[seed], after[seed]) for seed in shared] if len(shared) > 1 else [(first.best, second.best)]
    read = [(old.read_predictions(), new.read_predictions()) for old, new in pairs]
    return compare_predictions([(old, new) for old, new in read if old and new])


def _judged_the_same(first: Predictions, second: Predictions) -> bool:
    return _name_images(first) == _name_images(second) and np.array_equal(first.labels, second.labels)


def _name_images(predictions: Predictions) -> list[str]:
    """`val/<Class>/<file>` of each image, the same from a folder and from an archive with folders around it."""
    return ["/".join(str(file).split("/")[-3:]) for file in predictions.files]


def count_confusion(predictions: Predictions, num_classes: int) -> np.ndarray:
    """`(classes, classes)` int64: how many images of a class (row) were taken for each class (column)."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (predictions.labels, predictions.predicted), 1)
    return counts


def estimate_top(predictions: Predictions, count: int = 3) -> Estimate:
    """How often the true class is among the `count` most probable."""
    best = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :count]
    return estimate_share(int((best == predictions.labels[:, None]).any(axis=1).sum()), len(predictions.labels))


def measure_calibration(predictions: Predictions) -> tuple[list[tuple[float, Estimate]], float, float]:
    """How often a model is right when it is so sure: ten bins of the highest probability, of equal width.

    Returns:
        Mean confidence and accuracy of every bin that has images; the expected calibration error: the difference of
        the two, in the mean over the images (Guo et al. 2017, arXiv 1706.04599); and what that stays below in 95 of 100
        cases for a model that is right exactly as often as it says, on so many images.
    """
    confidence = predictions.probabilities.max(axis=1)
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    rows = [
        (
            float(confidence[bins == number].mean()),
            estimate_share(int(predictions.correct[bins == number].sum()), count),
        )
        for number in range(NUM_BINS)
        if (count := int((bins == number).sum()))
    ]
    gaps = [abs(sure - share.value) * share.num for sure, share in rows]
    draws = np.random.default_rng(0).random((NUM_DRAWS, len(confidence))) < confidence
    members = bins[:, None] == np.arange(NUM_BINS)
    by_chance = np.abs((draws - confidence) @ members).sum(axis=1) / len(confidence)
    return rows, sum(gaps) / len(confidence), float(np.quantile(by_chance, 0.95))


def find_best_so_far(trials: Sequence[Trial]) -> list[float]:
    """For each completed trial, the best score up to and with it."""
    return np.maximum.accumulate([trial.score or 0.0 for trial in trials]).tolist() if trials else []


def correlate(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Spearman's rank correlation with the interval of Bonett and Wright (2000), ties sharing their mean rank.

    Ranks, since one collapsed trial would otherwise decide everything, and since a learning rate has no natural scale.
    """
    rho = float(np.corrcoef(_rank(first), _rank(second))[0, 1])
    num = len(first)
    if abs(rho) > 1 - 1e-12:
        return Estimate(math.copysign(1.0, rho), math.copysign(1.0, rho), math.copysign(1.0, rho), num, "trials")
    half = Z * math.sqrt((1 + rho**2 / 2) / (num - 3))
    return Estimate(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), num, "trials")


def measure_effects(sweep: SweepHistory) -> list[Effect]:
    """Every hyperparameter's correlation with validation accuracy, strongest first.

    A number is taken as it is; a choice as being that one (1) or another (0), once where there are only two. A trial
    without a value (a setting that does not apply) is left out of that row, and a choice tried or not tried only
    once has no row.
    """
    effects = []
    for setting in sweep.settings:
        trials = [trial for trial in sweep.completed if trial.settings[setting] is not None]
        if len(trials) < MIN_TRIALS or len({trial.score for trial in trials}) == 1:
            continue
        scores = np.array([trial.score for trial in trials], dtype=float)
        for level, column in encode([trial.settings[setting] for trial in trials]):
            effects.append(Effect(setting, level, correlate(column, scores)))
    return sorted(effects, key=lambda effect: -abs(effect.estimate.value))


def encode(values: Sequence[Any]) -> list[tuple[str, np.ndarray]]:
    """Turns a hyperparameter's values into columns of numbers, each with the choice that it stands for."""
    levels = sorted(set(values), key=str)
    if len(levels) < 2:
        return []
    if all(is_number(value) for value in values):
        return [("", np.array(values, dtype=float))]
    columns = [(format_value(level), np.array([float(value == level) for value in values])) for level in levels]
    columns = columns[1:] if len(levels) == 2 else columns
    return [(level, column) for level, column in columns if 2 <= column.sum() <= len(values) - 2]


def build_axes(sweep: SweepHistory) -> list[Axis]:
    """Axes for the completed trials of a sweep, the accuracy last."""
    trials = sweep.completed
    axes = [_build_axis(shorten_setting(name), [trial.settings[name] for trial in trials]) for name in sweep.settings]
    scores = [trial.score for trial in trials]
    return [*axes, _build_axis("validation accuracy", scores, percent=True)]


def shorten_setting(name: str) -> str:
    """`training.learning_rate` as `learning_rate`; of the two that clash it says whose they are."""
    section, _, key = name.partition(".")
    return f"{section} {key}" if name in ("finetune.dropout", "finetune.batch_norm") else key or section


def format_value(value: Any) -> str:
    """A setting's value, short and as it is written in a configuration: `0.001`, `3e-05`, `gelu`, `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _build_axis(label: str, values: Sequence[Any], percent: bool = False) -> Axis:
    given = [value for value in values if value is not None]
    if not given or not all(is_number(value) for value in given) or len(set(given)) == 1:
        names = [None if value is None else _name_tick(value, percent) for value in values]
        levels = sorted({name for name in names if name is not None})
        heights = {level: (index + 0.5) / len(levels) for index, level in enumerate(levels)}
        positions = [None if name is None else heights[name] for name in names]
        return Axis(label, positions, [(height, level) for level, height in heights.items()])
    low, high = min(given), max(given)
    # Rates and widths that span a factor of four or more are read by factors, not by differences.
    logarithmic = low > 0 and high / low >= 4 and not percent
    scale = math.log if logarithmic else float
    ends = scale(low), scale(high)
    place = {value: (scale(value) - ends[0]) / (ends[1] - ends[0]) for value in given}
    apart = all(upper - lower > 0.05 for lower, upper in pairwise(sorted(place.values())))
    if len(place) <= 6 and apart and not percent:
        ticks = [(place[value], format_value(value)) for value in sorted(place)]
    else:
        marks = [ends[0] + (ends[1] - ends[0]) * step / 4 for step in range(5)]
        shown = [math.exp(mark) if logarithmic else mark for mark in marks]
        ticks = [(step / 4, _name_tick(v, percent) if percent else f"{v:.2g}") for step, v in enumerate(shown)]
    return Axis(label, [None if value is None else place[value] for value in values], ticks)


def _name_tick(value: Any, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else format_value(value)


def _rank(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
