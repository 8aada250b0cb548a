"""The progress of a sweep: a live table in a terminal, one line for each event elsewhere."""

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
from keras_inat.search.records import Records
from keras_inat.search.space import describe_values
from keras_inat.store.balance import NAMES
from keras_inat.store.records import Trial, find_best

BARS = "▁▂▃▄▅▆▇█"
LINES_BESIDE_TRIALS = 6
STYLES = {"completed": "", "pruned": "dim", "failed": "red", "running": "bold"}


class LiveTable:
    """Follows a sweep through its records in a display. With None, a line is printed when a trial begins or ends."""

    def __init__(self, records: Records, live: Live | None) -> None:
        self._records = records
        self._live = live
        self._shown = {trial.id: str(trial.status) for trial in records.read_trials() if trial.status != "running"}
        self._num_ended_before = len(self._shown)
        self._began = time.monotonic()

    def refresh(self) -> None:
        """Shows the events since the last call."""
        if self._live:
            self._live.update(self.draw(self._live.console.size.height))
            return
        trials = self._records.read_trials()
        for trial in trials:
            if self._shown.get(trial.id) != trial.status:
                self._shown[trial.id] = trial.status
                print(f"trial {trial.id}{self._describe_event(trial, trials)}", flush=True)

    def _describe_event(self, trial: Trial, trials: list[Trial]) -> str:
        sweep = self._records.config.sweep
        if trial.status == "running":
            verb = " resumes" if trial.epochs else f" of {sweep.trials}"
            return f"{verb}: {describe_values(trial.settings)}"
        outcome = f"failed: {trial.error}" if trial.status == "failed" else f"{trial.score or 0:.1%}"
        if self._records.shows_balance and trial.best_accuracies:
            outcome += f" ({trial.describe_balance()})"
        if trial.status == "pruned":
            outcome += f", pruned after {trial.epochs} of {sweep.epochs} epochs"
        return f": {outcome}  {self._summarize(trials)}"

    def draw(self, height: int) -> Group:
        """Draws the newest trials, the best one and a summary for a terminal of `height` lines."""
        trials = self._records.read_trials()
        best = find_best(trials)
        shown = trials[-max(3, height - LINES_BESIDE_TRIALS) :]
        if best and best not in shown:
            shown = [best, *shown[1:]]
        recorded = self._records.read_curves()
        curves = [recorded[trial.id] for trial in shown]
        top = max((curve[-1] for curve in curves if curve), default=1.0)
        table = Table(
            "trial", "", NAMES[self._records.objective], "best", "epochs", "configuration", box=box.SIMPLE_HEAD
        )
        for trial, curve in zip(shown, curves, strict=True):
            text = trial.error if trial.status == "failed" else describe_values(trial.settings)
            table.add_row(
                trial.id,
                "best" if trial is best else trial.status.replace("completed", "done"),
                draw_curve(curve, top),
                f"{curve[-1]:.1%}" if curve else "",
                f"{len(curve)}/{self._records.config.sweep.epochs}",
                Text(text, overflow="ellipsis", no_wrap=True),
                style="green" if trial is best else STYLES[trial.status],
            )
        return Group(table, Text(self._summarize(trials)))

    def _summarize(self, trials: list[Trial]) -> str:
        """Returns the number of ended trials, the best one, the epochs saved by pruning and the time left."""
        sweep = self._records.config.sweep
        num_ended = sum(trial.status != "running" for trial in trials)
        phrases = [f"{num_ended} of {sweep.trials}"]
        if best := find_best(trials):
            phrases.append(f"best so far {best.score:.1%}, trial {best.id}")
        if saved := sum(sweep.epochs - (trial.epochs or 0) for trial in trials if trial.status == "pruned"):
            phrases.append(f"{saved} epochs saved")
        if self._num_ended_before < num_ended < sweep.trials:
            seconds_per_trial = (time.monotonic() - self._began) / (num_ended - self._num_ended_before)
            phrases.append(f"about {format_seconds((sweep.trials - num_ended) * seconds_per_trial)} left")
        return "(" + "; ".join(phrases) + ")"


@contextlib.contextmanager
def open_live_table(records: Records) -> Iterator[LiveTable]:
    """Opens a live table in a terminal. Without worker processes, or with other output, it prints plain lines."""
    if not sys.stdout.isatty() or records.config.sweep.workers == 0:
        yield LiveTable(records, None)
        return
    with Live(console=Console(), refresh_per_second=2, transient=False) as live:
        yield LiveTable(records, live)


def draw_curve(curve: list[float], top: float) -> str:
    """Draws the last 30 epochs of a curve on a scale from zero to `top`, one character for each epoch."""
    heights = [int(value / (top or 1.0) * len(BARS)) for value in curve[-30:]]
    return "".join(BARS[min(height, len(BARS) - 1)] for height in heights)
