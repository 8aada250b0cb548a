"""A sweep: how it went, and the best trials."""

from collections import Counter

from keras_inat.report import formatting
from keras_inat.report.blocks import Parallel, Prose, Section, Table
from keras_inat.report.charts.parallel_coordinates import build_axes, color_lines, draw_parallel_coordinates
from keras_inat.report.charts.sweep_progress import draw_sweep_progress
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent, plural, setting_name, setting_value
from keras_inat.report.groups import SweepHistory
from keras_inat.report.history import DataSet
from keras_inat.report.sections.hyperparameter_effects import describe_effects
from keras_inat.report.statistics.accuracy import estimate_best_trial
from keras_inat.report.statistics.correlation import SettingCorrelation, correlate_settings

NUM_SWEEPS, NUM_TOP, MAX_AXES = 3, 10, 14


def describe_sweeps(data_set: DataSet, figures: FigureFolder) -> list[Section]:
    """The newest sweeps, a section each."""
    if not data_set.sweeps:
        return [Section("Sweep", [Prose("No sweep over these images yet: `make sweep` makes one.")])]
    sections = [_describe_sweep(sweep, figures) for sweep in data_set.sweeps[:NUM_SWEEPS]]
    if older := [f"`{sweep.name}`" for sweep in data_set.sweeps[NUM_SWEEPS:]]:
        sections[-1].blocks.append(Prose(f"Older sweeps, not shown: {', '.join(older)}."))
    return sections


def _describe_sweep(sweep: SweepHistory, figures: FigureFolder) -> Section:
    section = Section(f"Sweep “{sweep.name}”")
    statuses = Counter(trial.status for trial in sweep.trials)
    tally = f"{plural(len(sweep.trials), 'trial')}: " + ", ".join(
        f"{statuses[status]} {status}" for status in ("completed", "pruned", "failed", "running") if statuses[status]
    )
    best, accuracy = sweep.best, estimate_best_trial(sweep)
    if best is None:
        errors = Counter(trial.error for trial in sweep.trials if trial.error).most_common(3)
        said = "".join(f" {number} × “{error}”." for error, number in errors)
        none = "No trial was trained to its end yet" if statuses["pruned"] else "There is no accuracy to show yet"
        section.blocks = [Prose(f"{tally}. {none}.{said}")]
        return section
    ground, known = sweep.find_common_ground(), "of how many images is not known"
    caption = "Each point is a trial; the line is the best so far."
    if accuracy:
        known = f"{formatting.interval(accuracy)}, {formatting.sample_size(accuracy)}"
        caption += (
            f" n = {accuracy.num:,} validation images: of one trial's accuracy, about "
            f"±{100 * (accuracy.high - accuracy.low) / 2:.1f} points are chance."
        )
    effects = correlate_settings(ground)
    section.blocks = [
        Prose(
            f"{tally}. The best is trial {best.id} with a validation accuracy of {percent(best.score)} ({known}). As "
            f"the highest of {len(sweep.completed)} it is partly luck, and no interval knows that: only `make "
            "train-best` judges it on images that took no part in the choice."
        ),
        figures.add(
            f"sweep-{sweep.name}-progress",
            draw_sweep_progress(sweep.trials),
            f"Validation accuracy of {len(sweep.completed)} trials against creation time; the best reaches "
            f"{percent(best.score)}.",
            caption,
        ),
        _draw_parallel(sweep, effects, figures),
        *describe_effects(ground, effects, figures),
        _list_top(sweep),
    ]
    return section


def _draw_parallel(sweep: SweepHistory, effects: list[SettingCorrelation], figures: FigureFolder) -> Parallel:
    axes = build_axes(sweep)
    if len(axes) > MAX_AXES:
        ranked = list(dict.fromkeys(setting_name(effect.setting) for effect in effects))[: MAX_AXES - 1]
        axes = [axis for axis in axes[:-1] if axis.label in (ranked or [a.label for a in axes[: MAX_AXES - 1]])] + axes[
            -1:
        ]
    picture = figures.add(
        f"sweep-{sweep.name}-parallel",
        draw_parallel_coordinates(axes),
        f"Parallel coordinates of {len(sweep.completed)} trials over {len(axes) - 1} hyperparameters.",
        f"Each line is one of {len(sweep.completed)} completed trials, dark for a high validation accuracy, pale for a "
        "low one.",
    )
    names = [setting_name(name) for name in sweep.settings]
    lines = [
        {
            "title": f"trial {trial.id}, {percent(trial.score)}: "
            + ", ".join(
                f"{n} {setting_value(v)}" for n, v in zip(names, map(trial.settings.get, sweep.settings), strict=True)
            ),
            "color": color,
            "at": [None if axis.positions[i] is None else round(axis.positions[i] or 0.0, 4) for axis in axes],
        }
        for i, (trial, color) in enumerate(zip(sweep.completed, color_lines(axes[-1]), strict=True))
    ]
    return Parallel({"axes": [{"label": a.label, "ticks": a.ticks} for a in axes], "lines": lines}, picture)


def _list_top(sweep: SweepHistory) -> Table:
    top = sorted(sweep.completed, key=lambda trial: -(trial.score or 0.0))[:NUM_TOP]
    names = sweep.settings
    # Words are read from the left, numbers from the right.
    align = "".join("l" if isinstance(top[0].settings[name], str | bool) else "r" for name in names)
    return Table(
        f"The best {len(top)} of {plural(len(sweep.completed), 'completed trial')}.",
        f"rr{align}rr",
        ["trial", "validation", *(setting_name(name).replace("_", " ") for name in names), "parameters", "time"],
        [
            [
                trial.id,
                percent(trial.score),
                *(setting_value(trial.settings[name]) for name in names),
                formatting.abbreviate(trial.parameters),
                formatting.duration(trial.seconds),
            ]
            for trial in top
        ],
    )
