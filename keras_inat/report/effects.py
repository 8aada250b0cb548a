"""What the hyperparameters of a sweep had to do with its accuracies, in sentences with their evidence."""

from collections import Counter

from keras_inat.report import figures, wording
from keras_inat.report.album import Album
from keras_inat.report.analysis import MIN_TRIALS, Effect, shorten_setting
from keras_inat.report.blocks import Block, Bullets, Heading, Prose, Table
from keras_inat.report.importance import measure_importance
from keras_inat.report.observations import observe
from keras_inat.report.records import SweepRecord
from keras_inat.report.wording import percent, plural


def describe_effects(sweep: SweepRecord, effects: list[Effect], album: Album) -> list[Block]:
    """Observations, importance and correlations."""
    return [
        Heading("What the hyperparameters did"),
        *_tell(sweep, album),
        *_show_importance(sweep, album),
        *_show_correlations(sweep, effects, album),
    ]


def _tell(sweep: SweepRecord, album: Album) -> list[Block]:
    """A sentence for each hyperparameter, its evidence, and how it was come by."""
    observed = observe(sweep)
    if isinstance(observed, int):
        done = plural(len(sweep.completed), "completed trial")
        text = f"Nothing is said of single hyperparameters: {done} of equal accuracy tell nothing apart."
        if observed:
            text = (
                f"Nothing is said of single hyperparameters: holding the others fixed takes {observed} completed "
                f"trials of such a sweep, and there are {len(sweep.completed)}."
            )
        return [Prose(text)]
    shown = [row for row in observed.rows if row.says]
    silent = [setting for setting in sweep.settings if setting not in {row.setting for row in shown}]
    sentences = [row.says for row in shown] + [f"Together: {sentence}" for sentence in observed.interactions]
    if silent:
        names = ", ".join(f"`{shorten_setting(setting)}`" for setting in silent)
        sentences.append(f"Not shown by this sweep, one way or the other: {names}.")
    method = (
        f"Effects on validation accuracy with the other hyperparameters held fixed, from one linear model over "
        f"{plural(observed.num, 'completed trial')}, which explains {percent(observed.explained, 0)} of its variance. "
        "The search came back to what did well, so that values travel together; fitted together they are told apart. "
        "The intervals are wide enough for all rows to hold at once in 95 of 100 sweeps."
    )
    statuses = Counter(trial.status for trial in sweep.trials)
    if statuses["pruned"]:
        method += " Trials that were stopped early are left out: what ruins a trial counts too little."
    if observed.left_out:
        method += (
            f" Also left out: {plural(len(observed.left_out), 'trial')} that fell far behind all others, at "
            f"{percent(max(observed.left_out))} or less."
        )
    if observed.aliased:
        names = ", ".join(f"`{shorten_setting(setting)}`" for setting in observed.aliased)
        method += f" Always changed together with others, and so not told apart from them: {names}."
    rows = [
        [
            shorten_setting(row.setting),
            row.change,
            *wording.points(row.estimate),
            f"{row.estimate.num:,}",
            "shown" if row.says else "not shown by this sweep",
        ]
        for row in observed.rows
    ]
    return [
        Bullets(sentences),
        Prose(method),
        album.add(
            f"sweep-{sweep.name}-observations",
            figures.draw_observations(observed),
            f"Validation accuracy of {plural(observed.num, 'trial')} against each of "
            f"{plural(len(observed.factors), 'hyperparameter')}, the others held fixed.",
            "Each point is a trial, moved to where it would be with the other hyperparameters at their means; the "
            "line is the model. Grey: not shown by this sweep.",
        ),
        Table(
            "Points of validation accuracy that a change goes with, the others held fixed.",
            "llrrrl",
            ["hyperparameter", "change", "points", "95 % interval", "trials", "says"],
            rows,
        ),
    ]


def _show_importance(sweep: SweepRecord, album: Album) -> list[Block]:
    rows = measure_importance(sweep)
    if not rows:
        return []
    names = [f"`{shorten_setting(setting)}`" for setting, estimate in rows if estimate.low > 0]
    text = "No hyperparameter helps to foretell accuracy, by the intervals below."
    if names:
        text = f"What helps to foretell accuracy, most of all first: {', '.join(names)}."
    return [
        Prose(text),
        album.add(
            f"sweep-{sweep.name}-importance",
            figures.draw_importance(rows[:30]),
            f"Permutation importance of {plural(len(rows[:30]), 'hyperparameter')}.",
            "Permutation importance: a random forest foretells the accuracy of trials that it has not seen; shown is "
            "how much worse it does, in points of mean absolute error, when the values of one hyperparameter are "
            "shuffled. It counts effects of any shape, interactions too. Filled: the interval excludes zero.",
        ),
    ]


def _show_correlations(sweep: SweepRecord, effects: list[Effect], album: Album) -> list[Block]:
    if not effects:
        text = (
            f"No correlations: they need at least {MIN_TRIALS} completed trials with different values, and there are "
            f"{len(sweep.completed)}."
        )
        return [Prose(text)]
    rows = []
    for effect in effects:
        value, between = wording.correlation(effect.estimate)
        verdict = "not shown by this sweep"
        if effect.estimate.excludes_zero:
            more = "higher" if effect.estimate.value > 0 else "lower"
            verdict = f"{more} accuracy with it" if effect.level else f"{more} accuracy with larger values"
        rows.append([effect.label, value, between, f"{effect.estimate.num:,}", verdict])
    caption = (
        "Spearman's rank correlation of every hyperparameter with validation accuracy; a choice is taken as being that "
        "one against the others. Not adjusted for the other hyperparameters, which the search does not vary evenly; of "
        f"{plural(len(rows), 'row')}, {0.05 * len(rows):.1f} would exclude zero by chance alone."
    )
    return [
        album.add(
            f"sweep-{sweep.name}-correlations",
            figures.draw_effects(effects[:30]),
            f"Rank correlations of {len(effects[:30])} hyperparameters with validation accuracy.",
            "Filled: the interval excludes zero. Hollow: not shown by this sweep.",
        ),
        Table(caption, "lrrrl", ["hyperparameter", "correlation", "95 % interval", "trials", "says"], rows),
    ]
