"""What a person sees of a sweep at work: a live table on a terminal, a line an event elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from keras_inat.progress import format_seconds
from keras_inat.sweep.pruning import read_curve
from keras_inat.sweep.records import Records, Trial, find_best
from keras_inat.sweep.space import describe_values

BARS = "▁▂▃▄▅▆▇█"
MARKS = {"completed": "done", "pruned": "pruned", "failed": "failed", "running": "runs"}
STYLES = {"completed": "", "pruned": "dim", "failed": "red", "running": "bold"}


class LiveTable:
    """Follows the trials of a sweep, from their records and the epochs that they write.

    Args:
        records: Of the sweep.
        live: The display that is kept up to date; None prints a line where a trial begins or ends.
    """

    def __init__(self, records: Records, live: Live | None) -> None:
        self._records, self._live = records, live
        self._shown = {trial.id: trial.status for trial in records.read_trials() if trial.status != "running"}
        self._began, self._before = time.monotonic(), len(self._shown)

    def refresh(self) -> None:
        """Shows what has happened since, wherever it happened."""
        if self._live:
            self._live.update(self.draw(self._live.console.size.height))
            return
        trials = self._records.read_trials()
        for trial in trials:
            if self._shown.get(trial.id) != trial.status:
                self._shown[trial.id] = trial.status
                print(f"trial {trial.id}{self._tell(trial, trials)}", flush=True)

    def _tell(self, trial: Trial, trials: list[Trial]) -> str:
        sweep = self._records.config.sweep
        if trial.status == "running":
            return f" of {sweep.trials}: {describe_values(trial.settings)}"
        said = f"failed: {trial.error}" if trial.status == "failed" else f"{trial.score or 0:.1%}"
        said += f", pruned after {trial.epochs} of {sweep.epochs} epochs" if trial.status == "pruned" else ""
        return f": {said}  {self._summarise(trials)}"

    def draw(self, height: int) -> Group:
        """The table: what runs and the newest, and the best if it is older, in so many lines."""
        trials = self._records.read_trials()
        best, room = find_best(trials), max(3, height - 6)
        shown = trials[-room:]
        if best and best not in shown:
            shown = [best, *shown[1:]]
        table = Table("trial", "", "validation accuracy", "best", "epochs", "configuration", box=box.SIMPLE_HEAD)
        curves = [read_curve(self._records.trial_folder(trial.id) / "metrics.jsonl") for trial in shown]
        top = max((curve[-1] for curve in curves if curve), default=1.0)
        for trial, curve in zip(shown, curves, strict=True):
            told = trial.error if trial.status == "failed" else describe_values(trial.settings)
            table.add_row(
                trial.id,
                "best" if trial is best else MARKS[trial.status],
                draw_curve(curve, top),
                f"{curve[-1]:.1%}" if curve else "",
                f"{len(curve)}/{self._records.config.sweep.epochs}",
                Text(told, overflow="ellipsis", no_wrap=True),
                style="green" if trial is best else STYLES[trial.status],
            )
        return Group(table, Text(self._summarise(trials)))

    def _summarise(self, trials: list[Trial]) -> str:
        """Best so far, epochs saved by pruning, and the time left."""
        sweep = self._records.config.sweep
        ended = [trial for trial in trials if trial.status != "running"]
        parts = [f"{len(ended)} of {sweep.trials}"]
        if best := find_best(trials):
            parts.append(f"best so far {best.score:.1%}, trial {best.id}")
        if saved := sum(sweep.epochs - (trial.epochs or 0) for trial in trials if trial.status == "pruned"):
            parts.append(f"{saved} epochs saved")
        if self._before < len(ended) < sweep.trials:
            pace = (time.monotonic() - self._began) / (len(ended) - self._before)
            parts.append(f"about {format_seconds((sweep.trials - len(ended)) * pace)} left")
        return "(" + "; ".join(parts) + ")"


@contextlib.contextmanager
def open_live_table(records: Records) -> Iterator[LiveTable]:
    """A live table where output is a terminal and trials have processes of their own, plain lines elsewhere."""
    if not sys.stdout.isatty() or records.config.sweep.workers == 0:
        yield LiveTable(records, None)
        return
    with Live(console=Console(), refresh_per_second=2, transient=False) as live:
        yield LiveTable(records, live)


def draw_curve(curve: list[float], top: float) -> str:
    """A curve from zero to `top`, a character an epoch."""
    return "".join(BARS[min(int(value / (top or 1.0) * len(BARS)), len(BARS) - 1)] for value in curve[-30:])
