"""The conclusion of a sweep: one verdict on each hyperparameter, by its adjusted effect alone, and what is unknown."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Literal, get_args

from keras_inat.reporting.formatting import setting_name, setting_value
from keras_inat.reporting.statistics.adjusted_effects import (
    AdjustedEffect,
    AdjustedEffects,
    estimate_adjusted_effects,
)
from keras_inat.reporting.sweep_history import Level, SweepHistory, read_level

Verdict = Literal["significant", "inconclusive", "below 3 points", "too few trials", "aliased", "not varied"]
VERDICTS = get_args(Verdict)


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter of a sweep."""

    setting: str  # dotted name
    values: list[tuple[Level, int]]  # its choices or other values, each with the number of scored trials
    effects: list[AdjustedEffect]  # first the one that gives the verdict; empty if none is estimated
    verdict: Verdict


@dataclass(frozen=True)
class SweepConclusion:
    """The findings of a sweep, as sentences and names for the page."""

    sweep: SweepHistory  # with trials of equal length
    adjusted: AdjustedEffects | None
    reason: str  # why there are no adjusted effects; empty if there are
    hyperparameters: list[Hyperparameter]  # in the order of the verdicts, the clearest effect first
    significant: list[str]  # a sentence for each significant effect, and for each interaction
    small: list[str]  # names of hyperparameters whose effects are all smaller than 3 points
    inconclusive: list[str]  # names of hyperparameters whose effects may be larger than 3 points, or zero
    not_estimated: list[str]  # names of hyperparameters with too few trials for any effect
    untried: list[str]  # values that no scored trial has, such as "`double` of `filter_organization`"
    withheld: list[str]  # effects that rest on too few trials, such as "`activation` mish against the others"
    margin: float  # median margin of error of the effects, as a fraction; 0 without effects
    # Number of trials of such a sweep whose median margin of error is 3 points; None if unknown, or if it has as many.
    trials_for_3_points: int | None


def conclude_sweep(sweep: SweepHistory) -> SweepConclusion:
    """Returns the conclusion of a sweep, from trials of equal length."""
    sweep = sweep.truncate()
    outcome = estimate_adjusted_effects(sweep)
    adjusted = None if isinstance(outcome, str) else outcome
    found = [_describe_hyperparameter(sweep, adjusted, setting) for setting in sweep.searched]
    found.sort(key=lambda entry: (VERDICTS.index(entry.verdict), -_measure_clarity(entry.effects)))
    effects = adjusted.effects if adjusted else []
    significant = []
    withheld = []
    num_needed = None
    if adjusted:
        significant = [
            effect.sentence + _describe_aliases(adjusted, effect)
            for entry in found
            for effect in entry.effects
            if effect.verdict == "significant"
        ]
        significant += [f"Interaction: {sentence}" for sentence in adjusted.interactions]
        withheld = [f"`{setting_name(setting)}` {change}" for setting, change in adjusted.withheld]
        if adjusted.num_needed and adjusted.num_needed > len(adjusted.model.scores):
            num_needed = adjusted.num_needed
    return SweepConclusion(
        sweep=sweep,
        adjusted=adjusted,
        reason=outcome if isinstance(outcome, str) else "",
        hyperparameters=found,
        significant=significant,
        small=_list_names(found, "below 3 points"),
        inconclusive=_list_names(found, "inconclusive"),
        not_estimated=_list_names(found, "too few trials") if adjusted else [],
        untried=[
            f"`{setting_value(value)}` of `{setting_name(entry.setting)}`"
            for entry in found
            for value, num_trials in entry.values
            if not num_trials
        ],
        withheld=withheld,
        margin=median(effect.half_width for effect in effects) if effects else 0.0,
        trials_for_3_points=num_needed,
    )


def _describe_hyperparameter(sweep: SweepHistory, adjusted: AdjustedEffects | None, setting: str) -> Hyperparameter:
    effects = [effect for effect in adjusted.effects if effect.setting == setting] if adjusted else []
    effects.sort(key=lambda effect: (VERDICTS.index(effect.verdict), -_measure_clarity([effect])))
    verdict: Verdict = "too few trials"
    if effects:
        verdict = effects[0].verdict
    elif len({read_level(trial, setting) for trial in sweep.completed}) < 2:
        verdict = "not varied"
    elif adjusted and setting in adjusted.aliased:
        verdict = "aliased"
    return Hyperparameter(setting, _count_values(sweep, setting), effects, verdict)


def _count_values(sweep: SweepHistory, setting: str) -> list[tuple[Level, int]]:
    """Returns the choices of the space, or else the values in order, each with the number of scored trials."""
    levels = [read_level(trial, setting) for trial in sweep.completed]
    counts = Counter(level for level in levels if level is not None)
    others = sorted(counts, key=lambda level: (isinstance(level, str), level))
    return [(level, counts[level]) for level in dict.fromkeys([*sweep.list_choices(setting), *others])]


def _measure_clarity(effects: list[AdjustedEffect]) -> float:
    """Returns the largest ratio of an effect to its margin of error: above 1 if one is significant."""
    return max((abs(effect.estimate.value) / effect.half_width for effect in effects), default=0.0)


def _describe_aliases(adjusted: AdjustedEffects, effect: AdjustedEffect) -> str:
    aliases = join_names(alias for alias, settings in adjusted.aliased.items() if effect.setting in settings)
    return f" It is aliased with {aliases}, which may cause this effect instead." if aliases else ""


def _list_names(found: list[Hyperparameter], verdict: Verdict) -> list[str]:
    return [f"`{setting_name(entry.setting)}`" for entry in found if entry.verdict == verdict]


def join_names(settings: Iterable[str]) -> str:
    """Returns the names of settings as code, with commas."""
    return ", ".join(f"`{setting_name(setting)}`" for setting in settings)
