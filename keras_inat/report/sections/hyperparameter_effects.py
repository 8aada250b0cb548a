"""What the hyperparameters of a sweep had to do with its accuracies, in sentences with their evidence."""

from collections.abc import Iterable
from statistics import median

from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Bullets, Heading, Prose, Table
from keras_inat.report.charts.forest_plot import draw_forest_plot
from keras_inat.report.charts.partial_residuals import MAX_PANELS, draw_partial_residuals
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent, plural, setting_name
from keras_inat.report.groups import SweepHistory
from keras_inat.report.statistics.adjusted_effects import AdjustedEffects, estimate_adjusted_effects
from keras_inat.report.statistics.correlation import MIN_TRIALS, SettingCorrelation
from keras_inat.report.statistics.importance import measure_importance


def describe_effects(sweep: SweepHistory, effects: list[SettingCorrelation], figures: FigureFolder) -> list[Block]:
    """Adjusted effects, importance and correlations, of a sweep on common ground."""
    return [
        Heading("What the hyperparameters did"),
        *_explain_ground(sweep),
        *_tell(sweep, figures),
        *_show_importance(sweep, figures),
        *_show_correlations(sweep, effects, figures),
    ]


def _explain_ground(sweep: SweepHistory) -> list[Block]:
    if not sweep.epoch:
        return []
    text = (
        f"Some trials were stopped early, for how they did after {plural(sweep.epoch, 'epoch')} or more. So that none "
        f"is left out for that, all {len(sweep.completed)} are compared as they were then: what helps by then need not "
        "help in the end. But for hyperband, `sweep.prune=none` trains every trial to its end."
    )
    return [Prose(text)]


def _tell(sweep: SweepHistory, figures: FigureFolder) -> list[Block]:
    """A sentence for each hyperparameter, its evidence, and how it was come by."""
    adjusted, measure = estimate_adjusted_effects(sweep), formatting.score_name(sweep.epoch)
    if isinstance(adjusted, str):
        return [Prose(adjusted)]
    shown = [row for row in adjusted.effects if row.is_significant]
    told = {row.setting for row in shown} | adjusted.aliased.keys()
    sentences = [row.sentence + _name_doubles(row.setting, adjusted) for row in shown]
    sentences += [f"Together: {sentence}" for sentence in adjusted.interactions]
    if silent := _list(setting for setting in sweep.settings if setting not in told):
        sentences.append(f"Not shown by this sweep, one way or the other: {silent}.")
    method = (
        f"Effects on {measure} with the other hyperparameters held fixed, from one linear model "
        f"over {plural(adjusted.num_trials, 'trial')}, which explains {percent(adjusted.adjusted_r2, 0)} of its "
        "variance (adjusted for the size of the model). In a search values travel together; fitted together they are "
        "told apart as far as they can be. Were the model right, all intervals would hold at once in 95 of 100 sweeps; "
        "a curve that it cannot follow makes the size of an effect less sure, not so much whether there is one."
    )
    if adjusted.excluded:
        method += (
            f" Left out: {plural(len(adjusted.excluded), 'trial')} that fell far behind all others, at "
            f"{percent(max(adjusted.excluded))} or less; so what ruins a trial counts too little."
        )
    if adjusted.effects and not shown:
        half = median(row.estimate.high - row.estimate.low for row in adjusted.effects) / 2
        method += f" Here they reach {100 * half:.1f} points either way, by median: more trials make them narrower."
    if adjusted.aliased:
        method += f" Determined by other hyperparameters, and so not told apart from them: {_list(adjusted.aliased)}."
    rows = [
        [
            setting_name(row.setting),
            row.change,
            *formatting.percentage_points(row.estimate),
            f"{row.estimate.num:,}",
            "shown" if row.is_significant else "not shown by this sweep",
        ]
        for row in adjusted.effects
    ]
    return [
        Bullets(sentences),
        Prose(method),
        figures.add(
            f"sweep-{sweep.name}-observations",
            draw_partial_residuals(adjusted, measure),
            f"The {measure} of {plural(adjusted.num_trials, 'trial')} against each of "
            f"{plural(min(len(adjusted.factors), MAX_PANELS), 'hyperparameter')}, the others held fixed.",
            "Each point is a trial, moved to where it would be with the other hyperparameters at their means; the "
            "line is the model. Grey: not shown by this sweep.",
        ),
        Table(
            f"Points of {measure} that a change goes with, the others held fixed.",
            "llrrrl",
            ["hyperparameter", "change", "points", "95 % interval", "trials", "says"],
            rows,
        ),
    ]


def _list(settings: Iterable[str]) -> str:
    return ", ".join(f"`{setting_name(setting)}`" for setting in settings)


def _name_doubles(setting: str, adjusted: AdjustedEffects) -> str:
    """What an effect may be due to instead."""
    doubles = _list(name for name, others in adjusted.aliased.items() if setting in others)
    return f" Or {doubles} did it, which went with it." if doubles else ""


def _show_importance(sweep: SweepHistory, figures: FigureFolder) -> list[Block]:
    rows = measure_importance(sweep)
    if not rows:
        return []
    names = [f"`{setting_name(setting)}`" for setting, estimate in rows if estimate.low > 0]
    text = "No hyperparameter helps to foretell accuracy, by the intervals below."
    if names:
        text = f"What helps to foretell accuracy, most of all first: {', '.join(names)}."
    return [
        Prose(text),
        figures.add(
            f"sweep-{sweep.name}-importance",
            draw_forest_plot(
                [(setting_name(setting), estimate) for setting, estimate in rows[:30]],
                "points of error more when its values are shuffled, with 95 % interval",
                in_points=True,
            ),
            f"Permutation importance of {plural(len(rows[:30]), 'hyperparameter')}.",
            "Permutation importance: a random forest foretells the accuracy of trials that it has not seen; shown is "
            "how much worse it does, in points of mean absolute error, when the values of one hyperparameter are "
            "shuffled. It counts effects of any shape, interactions too. Filled: the interval excludes zero. All of "
            "them hold at once.",
        ),
    ]


def _show_correlations(sweep: SweepHistory, effects: list[SettingCorrelation], figures: FigureFolder) -> list[Block]:
    if not effects:
        text = (
            f"No correlations: they need at least {MIN_TRIALS} trials whose accuracies differ, with numbers that "
            f"differ or choices that come again, and {len(sweep.completed)} have an accuracy."
        )
        return [Prose(text)]
    measure = formatting.score_name(sweep.epoch)
    rows = []
    for effect in effects:
        value, between = formatting.correlation(effect.estimate)
        verdict = "not shown by this sweep"
        if effect.estimate.excludes_zero:
            more = "higher" if effect.estimate.value > 0 else "lower"
            verdict = f"{more} accuracy with it" if effect.level else f"{more} accuracy with larger values"
        rows.append([effect.label, value, between, f"{effect.estimate.num:,}", verdict])
    caption = (
        f"Spearman's rank correlation of every hyperparameter with {measure}; a choice is taken as being that "
        "one against the others. Not adjusted for the other hyperparameters, which the search does not vary evenly; of "
        f"{plural(len(rows), 'row')}, {0.05 * len(rows):.1f} would exclude zero by chance alone."
    )
    return [
        figures.add(
            f"sweep-{sweep.name}-correlations",
            draw_forest_plot(
                [(effect.label, effect.estimate) for effect in effects[:30]],
                f"rank correlation with {measure}, with 95 % interval",
                limits=(-1, 1),
            ),
            f"Rank correlations of {len(effects[:30])} hyperparameters with {measure}.",
            "Filled: the interval excludes zero. Hollow: not shown by this sweep.",
        ),
        Table(caption, "lrrrl", ["hyperparameter", "correlation", "95 % interval", "trials", "says"], rows),
    ]
