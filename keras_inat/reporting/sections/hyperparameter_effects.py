"""Hyperparameter effects: one table with a verdict for each hyperparameter, and the evidence for it."""

from functools import partial

from keras_inat.reporting.blocks import Block, Bullets, Details, Prose, Table
from keras_inat.reporting.charts.sweep import MAX_PANELS, draw_partial_residuals
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import (
    MISSING,
    percent,
    percentage_points,
    plural,
    setting_name,
    setting_value,
    signed,
)
from keras_inat.reporting.statistics.adjusted_effects import AdjustedEffect, AdjustedEffects
from keras_inat.reporting.statistics.conclusion import Hyperparameter, SweepConclusion, conclude_sweep, join_names
from keras_inat.reporting.statistics.importance import correlate_settings, measure_importance
from keras_inat.reporting.sweep_history import SweepHistory, is_number
from keras_inat.store.balance import NAMES

MAX_VALUES = 6  # of a number, each with its trials; of more, the range is given
EFFECT_HEAD = ["change", "effect in points", "95 % interval"]


def describe_hyperparameter_effects(sweep: SweepHistory, figures: FigureFolder) -> list[Block]:
    """Describes the effects of the hyperparameters of a sweep, from trials of equal length."""
    conclusion = conclude_sweep(sweep)
    sweep = conclusion.sweep
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
    blocks += [Bullets(list_conclusions(conclusion)), _tabulate(conclusion, score)]
    if conclusion.adjusted:
        blocks += _show_evidence(conclusion, conclusion.adjusted, score, figures)
    return blocks


def list_conclusions(conclusion: SweepConclusion) -> list[str]:
    """Returns the conclusion of a sweep, one fact a sentence."""
    sentences = list(conclusion.significant)
    if conclusion.small:
        sentences.append(f"No effect of 3 points or more, by the whole interval: {', '.join(conclusion.small)}.")
    if conclusion.inconclusive:
        sentences.append(f"Inconclusive: {', '.join(conclusion.inconclusive)}.")
    if conclusion.reason:
        sentences.append(conclusion.reason)
    if conclusion.trials_for_3_points:
        needed = f"{float(f'{conclusion.trials_for_3_points:.2g}'):,.0f}"
        sentences.append(
            f"The median margin of error of the effects is {100 * conclusion.margin:.1f} points. About {needed} trials "
            "of such a sweep would make it 3 points."
        )
    if conclusion.untried:
        num_trials = plural(len(conclusion.sweep.completed), "scored trial")
        sentences.append(f"Never tried in {num_trials}, and therefore unknown: {', '.join(conclusion.untried)}.")
    if conclusion.withheld:
        sentences.append(
            "Withheld, because fewer than six trials separate them from the effects of the others: "
            f"{'; '.join(conclusion.withheld)}."
        )
    return sentences


def _tabulate(conclusion: SweepConclusion, score: str) -> Table:
    """Tabulates a row for each hyperparameter, with its clearest effect."""
    importance = measure_importance(conclusion.sweep)
    correlations = correlate_settings(conclusion.sweep)
    rows = []
    for entry in conclusion.hyperparameters:
        correlation = MISSING
        if entry.setting in correlations:
            value, level = correlations[entry.setting]
            correlation = signed(value, 2) + (f" ({level})" if level else "")
        increase = signed(100 * importance[entry.setting], 1) if entry.setting in importance else MISSING
        descriptions = [_format_values(entry), increase, correlation]
        effect = _list_cells(entry.effects[0]) if entry.effects else [MISSING] * 3
        rows.append([setting_name(entry.setting), *descriptions, *effect, entry.verdict])
    caption = f"Hyperparameters and {score}. In parentheses: the number of trials with each value."
    if conclusion.adjusted:
        caption += (
            " The verdict is by the adjusted effect alone: the change in percentage points with the other "
            "hyperparameters held fixed, with a simultaneous 95 % interval."
        )
    if importance:
        caption += (
            " Importance: the increase of a random forest's mean error, in points, when the values are shuffled "
            "(permutation importance)."
        )
    if correlations:
        caption += (
            " Correlation: Spearman's rank correlation, of a choice against all others. These numbers only "
            "describe the trials, which a search does not spread evenly over the values."
        )
    head = ["hyperparameter", "values (trials)", "importance", "correlation", *EFFECT_HEAD, "verdict"]
    columns = [column for column in range(len(head)) if any(row[column] != MISSING for row in rows)]
    return Table(
        caption,
        "".join("llrllrrl"[column] for column in columns),
        [head[column] for column in columns],
        [[row[column] for column in columns] for row in rows],
    )


def _format_values(entry: Hyperparameter) -> str:
    """Returns `relu (20), gelu (12)`, or `0.0005 to 0.005 (32)` for many numbers."""
    tried = [value for value, num_trials in entry.values if num_trials]
    if len(entry.values) > MAX_VALUES and all(map(is_number, tried)):
        total = sum(num_trials for _, num_trials in entry.values)
        return f"{setting_value(min(tried))} to {setting_value(max(tried))} ({total})"
    return ", ".join(f"{setting_value(value)} ({num_trials})" for value, num_trials in entry.values)


def _list_cells(effect: AdjustedEffect) -> list[str]:
    return [effect.change, *percentage_points(effect.estimate)]


def _show_evidence(
    conclusion: SweepConclusion, adjusted: AdjustedEffects, score: str, figures: FigureFolder
) -> list[Block]:
    """Shows the partial residuals and, folded, the method and all effects."""
    shown = {entry.setting: entry.effects[0] for entry in conclusion.hyperparameters if entry.effects}
    num_panels = min(len(adjusted.model.factors), MAX_PANELS)
    picture = figures.add(
        f"sweep-{conclusion.sweep.name}-adjusted-effects",
        partial(draw_partial_residuals, adjusted.model, shown, score),
        f"The {score} of {plural(len(adjusted.model.scores), 'trial')} against each of "
        f"{plural(num_panels, 'hyperparameter')}, with the others held fixed.",
        "Each point is a trial, moved to its value with the other hyperparameters at their means. The line is the "
        "model; a withheld effect has none. Color: a significant effect.",
    )
    rows = []
    for entry in conclusion.hyperparameters:
        for effect in entry.effects:
            num = f"{effect.estimate.num:,}"
            rows.append([setting_name(entry.setting), *_list_cells(effect), num, effect.verdict])
    caption = f"All {len(rows)} effects on {score} that were estimated."
    head = ["hyperparameter", *EFFECT_HEAD, "trials", "verdict"]
    return [
        picture,
        Details("The model, and all effects", [
            Prose(_describe_method(adjusted, score)),
            Table(caption, "llrrrl", head, rows),
        ]),
    ]  # fmt: skip


def _describe_method(adjusted: AdjustedEffects, score: str) -> str:
    """Returns the statistical method, with its limits in this sweep."""
    model = adjusted.model
    text = (
        f"These are effects on {score} with the other hyperparameters held fixed. One linear model of "
        f"{plural(len(model.scores), 'trial')} explains {percent(model.adjusted_r2, 0)} of the variance of the score "
        "(adjusted R²). The values of different hyperparameters are correlated in a search. Fitting them together "
        "separates their effects as far as possible. If the model is right, all intervals cover their true values at "
        "once in 95 of 100 sweeps. Shapes that its polynomials cannot follow are not modeled."
    )
    if adjusted.excluded:
        text += (
            f" Excluded as outliers: {plural(len(adjusted.excluded), 'trial')} with an accuracy of "
            f"{percent(max(adjusted.excluded))} or less. Values that prevent any learning therefore count too little."
        )
    if adjusted.aliased:
        text += (
            " These hyperparameters are determined by others, so their effects cannot be separated: "
            f"{join_names(adjusted.aliased)}."
        )
    return text
