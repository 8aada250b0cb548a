"""Hyperparameter effects: adjusted effects, importance and correlations, each with its evidence."""

from collections.abc import Iterable
from functools import partial
from statistics import median

from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Bullets, Prose, Table
from keras_inat.reporting.charts.comparison import draw_forest_plot
from keras_inat.reporting.charts.sweep import MAX_PANELS, draw_partial_residuals
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import percent, plural, setting_name
from keras_inat.reporting.statistics.adjusted_effects import AdjustedEffects, estimate_adjusted_effects
from keras_inat.reporting.statistics.importance import MIN_TRIALS, SettingCorrelation, measure_importance
from keras_inat.reporting.sweep_history import SweepHistory
from keras_inat.store.balance import NAMES

MAX_ROWS = 30  # of a chart


def describe_hyperparameter_effects(
    sweep: SweepHistory, correlations: list[SettingCorrelation], figures: FigureFolder
) -> list[Block]:
    """Describes the effects of the hyperparameters of a sweep whose trials have the same number of epochs."""
    blocks: list[Block] = []
    score = NAMES[sweep.objective]
    if sweep.objective != "accuracy":
        blocks.append(Prose(f"Accuracy means {score} in this section, because it selects in this sweep."))
    if sweep.epoch:
        score += f" after {plural(sweep.epoch, 'epoch')}"
        text = (
            f"Some trials were stopped early because of their accuracy after {plural(sweep.epoch, 'epoch')} or later. "
            f"All {len(sweep.completed)} trials are therefore compared after this number of epochs. A value that helps "
            "early need not help at the end. `sweep.prune=none` trains every trial to its end."
        )
        blocks.append(Prose(text))
    blocks += _describe_adjusted_effects(sweep, score, figures)
    blocks += _describe_importance(sweep, figures)
    return blocks + _describe_correlations(sweep, correlations, score, figures)


def _describe_adjusted_effects(sweep: SweepHistory, score: str, figures: FigureFolder) -> list[Block]:
    adjusted = estimate_adjusted_effects(sweep)
    if isinstance(adjusted, str):
        return [Prose(adjusted)]
    num_panels = min(len(adjusted.model.factors), MAX_PANELS)
    picture = figures.add(
        f"sweep-{sweep.name}-adjusted-effects",
        partial(draw_partial_residuals, adjusted, score),
        f"The {score} of {plural(len(adjusted.model.scores), 'trial')} against each of "
        f"{plural(num_panels, 'hyperparameter')}, with the others held fixed.",
        "Each point is a trial, moved to its value with the other hyperparameters at their means. The line is the "
        "model. Gray: not significant.",
    )
    rows = []
    for effect in adjusted.effects:
        result = "significant" if effect.is_significant else "not significant"
        numbers = [*formatting.percentage_points(effect.estimate), f"{effect.estimate.num:,}"]
        rows.append([setting_name(effect.setting), effect.change, *numbers, result])
    caption = f"Change in {score}, in percentage points, with the other hyperparameters held fixed."
    head = ["hyperparameter", "change", "points", "95 % interval", "trials", "result"]
    return [
        Bullets(_list_effects(adjusted, sweep.settings)),
        Prose(_describe_method(adjusted, score)),
        picture,
        Table(caption, "llrrrl", head, rows),
    ]


def _list_effects(adjusted: AdjustedEffects, settings: list[str]) -> list[str]:
    """Returns a sentence for each significant effect and interaction, and one for the other hyperparameters."""
    sentences = []
    mentioned = set(adjusted.aliased)
    for effect in adjusted.effects:
        if effect.is_significant:
            mentioned.add(effect.setting)
            sentences.append(effect.sentence)
            aliases = _join_names(alias for alias, settings in adjusted.aliased.items() if effect.setting in settings)
            if aliases:
                sentences[-1] += f" It is aliased with {aliases}, which may cause this effect instead."
    sentences += [f"Interaction: {sentence}" for sentence in adjusted.interactions]
    others = _join_names(setting for setting in settings if setting not in mentioned)
    if others:
        sentences.append(f"Not significant in this sweep: {others}.")
    return sentences


def _describe_method(adjusted: AdjustedEffects, score: str) -> str:
    """Returns the statistical method, with its limits in this sweep."""
    model = adjusted.model
    text = (
        f"These are effects on {score} with the other hyperparameters held fixed. One linear model of "
        f"{plural(len(model.scores), 'trial')} explains {percent(model.adjusted_r2, 0)} of its variance (adjusted "
        "for the size of the model). The values of different hyperparameters are correlated in a search. Fitting them "
        "together separates their effects as far as possible. If the model is right, all intervals cover their true "
        "values at once in 95 of 100 sweeps. If an effect has a shape that the model cannot follow, its size is less "
        "certain, but hardly its existence."
    )
    if adjusted.excluded:
        text += (
            f" Excluded as outliers: {plural(len(adjusted.excluded), 'trial')} with an accuracy of "
            f"{percent(max(adjusted.excluded))} or less. Values that prevent any learning therefore count too little."
        )
    if adjusted.effects and not any(effect.is_significant for effect in adjusted.effects):
        half = median(effect.estimate.high - effect.estimate.low for effect in adjusted.effects) / 2
        text += f" The median margin of error is {100 * half:.1f} points. More trials make it smaller."
    if adjusted.aliased:
        text += (
            " These hyperparameters are determined by others, so their effects cannot be separated: "
            f"{_join_names(adjusted.aliased)}."
        )
    return text


def _join_names(settings: Iterable[str]) -> str:
    return ", ".join(f"`{setting_name(setting)}`" for setting in settings)


def _describe_importance(sweep: SweepHistory, figures: FigureFolder) -> list[Block]:
    rows = measure_importance(sweep)
    if not rows:
        return []
    important = _join_names(setting for setting, estimate in rows if estimate.low > 0)
    text = "By the intervals below, no hyperparameter improves the prediction of accuracy."
    if important:
        text = f"Hyperparameters that improve the prediction of accuracy, the most important first: {important}."
    label = "increase of the error in points when the values are shuffled, with 95 % interval"
    shown = [(setting_name(setting), estimate) for setting, estimate in rows[:MAX_ROWS]]
    picture = figures.add(
        f"sweep-{sweep.name}-importance",
        partial(draw_forest_plot, shown, label, in_points=True),
        f"Permutation importance of {plural(len(shown), 'hyperparameter')}.",
        "Permutation importance. A random forest predicts the accuracy of trials that it was not trained on. The "
        "importance of a hyperparameter is the increase of the mean absolute error, in points, when its values are "
        "shuffled. It includes effects of any shape and interactions. Filled: the interval excludes zero. The "
        "intervals are simultaneous.",
    )
    return [Prose(text), picture]


def _describe_correlations(
    sweep: SweepHistory, correlations: list[SettingCorrelation], score: str, figures: FigureFolder
) -> list[Block]:
    if not correlations:
        text = (
            f"Too few trials for correlations: they need at least {MIN_TRIALS} trials with different scores, and "
            f"numbers that differ or choices that repeat. The sweep has {len(sweep.completed)} scored trials."
        )
        return [Prose(text)]
    shown = [(correlation.label, correlation.estimate) for correlation in correlations[:MAX_ROWS]]
    picture = figures.add(
        f"sweep-{sweep.name}-correlations",
        partial(draw_forest_plot, shown, f"rank correlation with {score}, with 95 % interval", limits=(-1, 1)),
        f"Rank correlations of {len(shown)} hyperparameters with {score}.",
        "Filled: the interval excludes zero. Hollow: not significant.",
    )
    rows = []
    for correlation in correlations:
        estimate = correlation.estimate
        result = "not significant"
        if estimate.excludes_zero:
            direction = "higher" if estimate.value > 0 else "lower"
            result = f"{direction} accuracy {'with it' if correlation.level else 'with larger values'}"
        rows.append([correlation.label, *formatting.correlation(estimate), f"{estimate.num:,}", result])
    caption = (
        f"Spearman's rank correlation of every hyperparameter with {score}. A choice is compared with all others. The "
        "correlations are not adjusted for the other hyperparameters, which the search does not vary evenly. Of "
        f"{plural(len(rows), 'row')}, {0.05 * len(rows):.1f} would exclude zero by chance alone."
    )
    head = ["hyperparameter", "correlation", "95 % interval", "trials", "result"]
    return [picture, Table(caption, "lrrrl", head, rows)]
