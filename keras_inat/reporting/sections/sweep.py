"""Sweep: its progress, parallel coordinates and best trials."""

from collections import Counter
from functools import partial

from keras_inat.errors import PROGRAM
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Details, Heading, ParallelCoordinates, Prose, Section, Table
from keras_inat.reporting.charts.parallel_coordinates import Axis, build_axes, color_lines, draw_parallel_coordinates
from keras_inat.reporting.charts.sweep import draw_sweep_progress, draw_trial_curves
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import percent, plural, setting_name, setting_value
from keras_inat.reporting.history import DataSet
from keras_inat.reporting.sections.hyperparameter_effects import describe_hyperparameter_effects
from keras_inat.reporting.statistics.accuracy import estimate_best_trial
from keras_inat.reporting.statistics.importance import correlate_settings
from keras_inat.reporting.sweep_history import SweepHistory, read_level
from keras_inat.store.balance import NAMES
from keras_inat.store.records import Trial
from keras_inat.style import SCORES

TITLE = "Sweep"
NUM_SWEEPS = 3
NUM_BEST = 10
NUM_ERRORS = 3
MAX_AXES = 14


def describe_sweeps(data_set: DataSet, figures: FigureFolder) -> list[Section]:
    """Returns a section for each of the newest sweeps."""
    if not data_set.sweeps:
        return [Section(TITLE, [Prose(f"There is no sweep on these images yet. Run `{PROGRAM} sweep`.")])]
    sections = [_describe_sweep(sweep, figures) for sweep in data_set.sweeps[:NUM_SWEEPS]]
    older = [f"`{sweep.name}`" for sweep in data_set.sweeps[NUM_SWEEPS:]]
    if older:
        sections[-1].blocks.append(Prose(f"Older sweeps are not shown: {', '.join(older)}."))
    return sections


def _describe_sweep(sweep: SweepHistory, figures: FigureFolder) -> Section:
    title = f"{TITLE} “{sweep.name}”"
    numbers = Counter[str](trial.status for trial in sweep.trials)
    statuses = ("completed", "pruned", "failed", "running")
    counts = [f"{numbers[status]} {status}" for status in statuses if numbers[status]]
    text = f"{plural(len(sweep.trials), 'trial')}: {', '.join(counts)}."
    if sweep.best is None:
        text += f" No trial has {'been completed' if numbers['pruned'] else 'a score'} yet."
        errors = Counter(trial.error for trial in sweep.trials if trial.error)
        for error, number in errors.most_common(NUM_ERRORS):
            text += f" {number} × “{error}”."
        return Section(title, [Prose(text)])
    return Section(
        title,
        [
            *_describe_best(sweep, sweep.best, text, figures),
            _draw_parallel_coordinates(sweep, figures),
            Heading("Hyperparameter effects"),
            *describe_hyperparameter_effects(sweep, figures),
            Details("The best trials", [_tabulate_best(sweep)]),
            _draw_curves(sweep, sweep.best, figures),
        ],
        lead="A search of hyperparameters, selected by accuracy on the validation images.",
    )


def _describe_best(sweep: SweepHistory, best: Trial, counts: str, figures: FigureFolder) -> list[Block]:
    """Describes the best trial and the progress of a sweep."""
    num_completed = len(sweep.completed)
    name = NAMES[sweep.objective]
    accuracy = estimate_best_trial(sweep)
    evidence = "" if sweep.data else " (number of images unknown)"
    limit = ""
    caption = "Each point is a trial. The line is the best accuracy so far."
    if accuracy:
        evidence = f" ({formatting.interval(accuracy)}, {formatting.sample_size(accuracy)})"
        limit = " The interval does not account for this selection."
        caption += (
            f" With {accuracy.num:,} validation images, one trial's accuracy has a 95{formatting.SPACE}% margin of "
            f"error of about ±{50 * (accuracy.high - accuracy.low):.1f} points."
        )
    progress = figures.add(
        f"sweep-{sweep.name}-progress",
        partial(draw_sweep_progress, sweep.trials),
        f"{name.capitalize()} of {num_completed} trials against creation time; the best reaches {percent(best.score)}.",
        caption,
    )
    return [
        Prose(
            f"{counts} The best is trial {best.id} with a {name} of {percent(best.score)}{evidence}"
            f"{describe_trial_balance(sweep, best)}. It is the highest of {num_completed} accuracies and therefore "
            f"optimistic.{limit} `{PROGRAM} train-best` evaluates this configuration on images that were not used to "
            "select it."
        ),
        Details("Accuracy against creation time", [progress]),
    ]


def describe_trial_balance(sweep: SweepHistory, trial: Trial) -> str:
    """Returns the accuracies and the majority baseline of a trial's best epoch; empty if the classes are balanced."""
    if sweep.data is None or not sweep.data.is_imbalanced or trial.best_accuracies is None:
        return ""
    accuracy, balanced = (percent(value) for value in trial.best_accuracies)
    baseline = percent(trial.val_majority_baseline)
    return f", at an accuracy of {accuracy}, a balanced accuracy of {balanced} and a majority baseline of {baseline}"


def _draw_parallel_coordinates(sweep: SweepHistory, figures: FigureFolder) -> ParallelCoordinates:
    axes = _choose_axes(build_axes(sweep), sweep)
    num_completed = len(sweep.completed)
    picture = figures.add(
        f"sweep-{sweep.name}-parallel",
        partial(draw_parallel_coordinates, axes),
        f"Parallel coordinates of {num_completed} trials over {len(axes) - 1} hyperparameters.",
        f"Each line is one of {num_completed} completed trials, colored by its {NAMES[sweep.objective]} on the last "
        "axis. Lines with equal values lie beside each other, the best on top.",
    )
    lines = []
    for index, (trial, color) in enumerate(zip(sweep.completed, color_lines(axes[-1]), strict=True)):
        # Such as `trial 3, 47.2 %: filters 16, activation relu`.
        values = [f"{setting_name(name)} {setting_value(read_level(trial, name))}" for name in sweep.settings]
        title = f"trial {trial.id}, {percent(trial.score)}: {', '.join(values)}"
        positions = [axis.positions[index] for axis in axes]
        at = [None if position is None else round(position, 4) for position in positions]
        lines.append({"title": title, "color": color, "at": at})
    scores = [trial.score or 0.0 for trial in sweep.completed]
    data = {
        "axes": [{"label": axis.label, "ticks": axis.ticks} for axis in axes],
        "lines": lines,
        "key": {"colors": list(SCORES), "low": percent(min(scores)), "high": percent(max(scores))},
    }
    return ParallelCoordinates(data, picture)


def _choose_axes(axes: list[Axis], sweep: SweepHistory) -> list[Axis]:
    """Returns all axes or, if they are too many, those with the strongest correlations, and the accuracy."""
    if len(axes) <= MAX_AXES:
        return axes
    labels = list(map(setting_name, correlate_settings(sweep.truncate()))) or [axis.label for axis in axes]
    return [*(axis for axis in axes[:-1] if axis.label in labels[: MAX_AXES - 1]), axes[-1]]


def _draw_curves(sweep: SweepHistory, best: Trial, figures: FigureFolder) -> Details:
    trials = [trial for trial in sweep.trials if trial.curve and trial.status in ("completed", "pruned")]
    num_pruned = sum(trial.status == "pruned" for trial in trials)
    pruned = f" A dot ends the curve of each of {plural(num_pruned, 'pruned trial')}." if num_pruned else ""
    picture = figures.add(
        f"sweep-{sweep.name}-curves",
        partial(draw_trial_curves, trials, best),
        f"{NAMES[best.objective].capitalize()} of {plural(len(trials), 'trial')} over their epochs; the best, trial "
        f"{best.id}, reaches {percent(best.score)}.",
        f"Each line is a trial, in the color of its best epoch as in the parallel coordinates.{pruned}",
    )
    return Details(f"Learning curves of {plural(len(trials), 'trial')}", [picture])


def _tabulate_best(sweep: SweepHistory) -> Table:
    best = sorted(sweep.completed, key=lambda trial: -(trial.score or 0.0))[:NUM_BEST]
    names = sweep.settings
    # Words are aligned to the left, numbers to the right.
    align = "".join("l" if isinstance(read_level(best[0], name), str | bool) else "r" for name in names)
    is_imbalanced = sweep.data is not None and sweep.data.is_imbalanced
    caption = f"The best {len(best)} of {plural(len(sweep.completed), 'completed trial')}."
    if is_imbalanced:
        caption += f" The majority baseline of the accuracy is {percent(best[0].val_majority_baseline)}."
    rows = []
    for trial in best:
        values = [setting_value(read_level(trial, name)) for name in names]
        cost = [formatting.abbreviate(trial.parameters), formatting.duration(trial.seconds)]
        scores = [trial.score]
        if is_imbalanced:
            scores = list(trial.best_accuracies or (None, None))
        rows.append([trial.id, *map(percent, scores), *values, *cost])
    labels = [setting_name(name).replace("_", " ") for name in names]
    scores_head = ["validation", "balanced validation"] if is_imbalanced else ["validation"]
    return Table(
        caption,
        f"r{'r' * len(scores_head)}{align}rr",
        ["trial", *scores_head, *labels, "parameters", "time"],
        rows,
    )
