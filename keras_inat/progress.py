"""Progress of long work: a bar in a terminal or a notebook, plain lines in a pipe or a file."""

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, Progress, TextColumn

BAR_WIDTH = 24
SECONDS_BETWEEN_BARS = 0.2
SECONDS_BETWEEN_LINES = 30.0
# A rate measured over a shorter time is not shown.
MIN_RATE_SECONDS = 1.0

Advance = Callable[[int], None]


@contextlib.contextmanager
def track_progress(
    description: str,
    total: int,
    unit: str = "",
    *,
    completed: int = 0,
    transient: bool = False,
    line_seconds: float = SECONDS_BETWEEN_LINES,
) -> Iterator[Advance]:
    """Shows the progress of long work on stdout.

    A terminal or a notebook shows a bar with the count, the rate and the time left. A pipe or a file gets a line every
    `line_seconds` and one when the work is done. While another display of this process is live, nothing is shown.

    Args:
        description: The work, such as "decoding photos".
        total: The number of things to do.
        unit: The name of these things, in the plural, such as "images".
        completed: The number of things that earlier work has done. They do not count in the rate.
        transient: Removes the bar when the work is done. A pipe or a file gets no last line.
        line_seconds: The time between two lines.

    Yields:
        A function that is called with the number of things done since its last call.
    """
    work = _Work(total, unit, completed, time.monotonic(), completed)
    with _open_display(_make_encodable(description), work, transient, line_seconds) as (show, seconds_between):
        shown_at = work.began
        shown = completed

        def advance(count: int) -> None:
            nonlocal shown_at, shown
            work.completed += count
            now = time.monotonic()
            if now - shown_at >= seconds_between:
                shown_at = now
                shown = work.completed
                show()

        yield advance
        if not transient and shown < work.completed:
            show()


@dataclass
class _Work:
    total: int
    unit: str
    completed_before: int
    began: float
    completed: int

    def describe(self) -> str:
        """Returns the count, the rate and the time left."""
        words = [f"{self.completed:>{len(f'{self.total:,}')},}/{self.total:,} {self.unit}".rstrip()]
        seconds = time.monotonic() - self.began
        newly_completed = self.completed - self.completed_before
        if newly_completed and seconds >= MIN_RATE_SECONDS:
            rate = newly_completed / seconds
            words.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self.completed < self.total:
                words.append(f"{format_seconds((self.total - self.completed) / rate)} left")
        return "  ".join(words)


@contextlib.contextmanager
def _open_display(
    description: str, work: _Work, transient: bool, line_seconds: float
) -> Iterator[tuple[Callable[[], None], float]]:
    """Yields a function that shows the work as it is, and the seconds between two calls of it."""
    # A live display of rich replaces stdout by a proxy.
    if isinstance(sys.stdout, FileProxy) or work.completed >= work.total:
        yield lambda: None, line_seconds
        return
    console = Console()
    if not _can_show_bars(console):
        yield lambda: _print_line(f"{description}: {work.describe().lstrip()}"), line_seconds
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.fields[status]}", markup=False),
        console=console,
        auto_refresh=False,
        transient=transient,
        # Warnings in a file stay out of the display.
        redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
    )
    task = progress.add_task(description, total=work.total, completed=work.completed, status=work.describe())

    def show() -> None:
        with contextlib.suppress(OSError, ValueError):
            progress.update(task, completed=work.completed, status=work.describe(), refresh=True)

    with progress:
        yield show, SECONDS_BETWEEN_BARS


def _can_show_bars(console: Console) -> bool:
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    # Rich takes a pipe for a terminal when FORCE_COLOR is set.
    return sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty() and not console.is_dumb_terminal


def _print_line(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed stdout must not end the work
        print(line, flush=True)


def _make_encodable(text: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def format_seconds(seconds: float) -> str:
    """Returns a duration in seconds, minutes or hours, such as "10 s", "2 min" or "2.5 h"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def hide_startup_messages() -> Iterator[None]:
    """Hides what TensorFlow prints while it is imported, which no setting turns off. An error shows the messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its messages arrive as errors, too
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns about every new model that it traces
    sys.stderr.flush()
    with tempfile.TemporaryFile() as messages, contextlib.ExitStack() as stack:
        terminal = os.dup(2)
        stack.callback(os.close, terminal)
        os.dup2(messages.fileno(), 2)
        stack.callback(os.dup2, terminal, 2)
        try:
            yield
        except Exception:
            messages.seek(0)
            os.write(terminal, messages.read())
            raise
