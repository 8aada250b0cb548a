"""The progress of a sweep: validation accuracy of its trials over time."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inat.plotting import ACCENT, INK, WRONG, new_figure
from keras_inat.report.charts.axes import PERCENT, WIDTH
from keras_inat.report.formatting import percent
from keras_inat.report.statistics.accuracy import running_best
from keras_inat.store.records import Trial

# From so many seconds on, the unit, and its length in seconds.
TIME_UNITS = ((172_800, "days", 86_400), (7_200, "hours", 3_600), (120, "minutes", 60))


def draw_sweep_progress(trials: Sequence[Trial]) -> Figure:
    """Draws validation accuracy against creation time, and the best accuracy so far."""
    figure = new_figure(WIDTH, 4)
    axes = figure.add_subplot()
    times, label = _creation_times(trials)
    timed = list(zip(times, trials, strict=True))
    pruned = [(time, trial.score) for time, trial in timed if trial.status == "pruned" and trial.score is not None]
    if pruned:
        xs, ys = zip(*pruned, strict=True)
        axes.scatter(xs, ys, 22, facecolor="none", edgecolor=ACCENT, label="pruned trial", zorder=2)
    completed = [entry for entry in timed if entry[1].status == "completed" and entry[1].score is not None]
    _draw_completed(axes, completed, max(times))
    failed = [time for time, trial in timed if trial.status == "failed"]
    if failed:  # without an accuracy, they are drawn on the x axis itself
        axes.plot(
            failed, np.zeros(len(failed)), "x", color=WRONG, transform=axes.get_xaxis_transform(), clip_on=False,
            label="failed trial", zorder=5,
        )  # fmt: skip
    axes.margins(y=0.12)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set(xlabel=label, ylabel="validation accuracy")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def _draw_completed(axes: Axes, completed: list[tuple[float, Trial]], last_time: float) -> None:
    """Draws completed trials, the best score so far, and a label at the best trial."""
    times = [time for time, _ in completed]
    scores = [trial.score or 0.0 for _, trial in completed]
    axes.scatter(times, scores, 34, ACCENT, label="completed trial", zorder=3)
    if not completed:
        return
    best_so_far = running_best([trial for _, trial in completed])
    axes.step(times, best_so_far, where="post", color=INK, linewidth=1.4, label="best so far")
    best = int(np.argmax(scores))
    axes.scatter(times[best], scores[best], 190, facecolor="none", edgecolor=INK, linewidth=1.4, zorder=4)
    note = axes.annotate(
        f"trial {completed[best][1].id}, {percent(scores[best])}", (times[best], scores[best]), (0, 11),
        textcoords="offset points", fontsize=9, ha=_align_label(times[best] / (last_time or 1)),
    )  # fmt: skip
    note.set_in_layout(False)  # it has room within the margins


def _align_label(position: float) -> str:
    """Returns the alignment that keeps a label within the axes, for a position from 0 (left) to 1."""
    if position < 0.1:
        return "left"
    return "right" if position > 0.9 else "center"


def _creation_times(trials: Sequence[Trial]) -> tuple[list[float], str]:
    """Returns the creation time of each trial after the first, in a suitable unit, and the label of the axis.

    Without usable times they are replaced by the numbers of the trials.
    """
    try:
        moments = [datetime.fromisoformat(trial.started) for trial in trials]
        seconds = [(moment - min(moments)).total_seconds() for moment in moments]
    except (ValueError, TypeError):
        return list(map(float, range(1, len(trials) + 1))), "trial, in order of creation"
    for least, unit, size in TIME_UNITS:
        if max(seconds) > least:
            return [value / size for value in seconds], f"creation time, {unit} after the first trial"
    return seconds, "creation time, seconds after the first trial"
