"""Progress of long work: a bar in a terminal or a notebook, plain lines in a pipe or a file."""

import contextlib
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from keras_inat.errors import UserError
from keras_inat.signals import end_at_once

SECONDS_BETWEEN_BARS = 0.2
SECONDS_BETWEEN_LINES = 30.0

Advance = Callable[[int], None]


@contextlib.contextmanager
def track_progress(
    description: str, total: int, unit: str = "", *, completed: int = 0, transient: bool = False
) -> Iterator[Advance]:
    """Shows the progress of long work on stdout.

    A terminal or a notebook shows a bar with the count, the rate and the time left. A pipe or a file gets a line every
    30 seconds and one when the work is done. While another display of this process is live, nothing is shown.

    Args:
        description: The work, such as "decoding photos".
        total: The number of things to do.
        unit: The name of these things, in the plural, such as "images".
        completed: The number of things that earlier work has done. They do not count in the rate.
        transient: Removes the bar when the work is done. A pipe or a file gets no last line.

    Yields:
        A function that is called with the number of things done since its last call.
    """
    from rich.file_proxy import FileProxy

    # A live display of rich replaces stdout by a proxy.
    if completed >= total or isinstance(sys.stdout, FileProxy):
        yield lambda count: None
        return
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # outside of the command line it may lack characters
    description = description.encode(encoding, "backslashreplace").decode(encoding)
    began = time.monotonic()
    bar = _build_bar(transient)
    seconds_between = SECONDS_BETWEEN_BARS if bar else SECONDS_BETWEEN_LINES
    shown_at = began
    shown = completed
    done = completed

    def describe() -> str:
        return _describe(done, total, unit, done - completed, time.monotonic() - began)

    def show() -> None:
        nonlocal shown
        shown = done
        with contextlib.suppress(OSError, ValueError):  # a closed stdout must not end the work
            if bar:
                bar.update(bar.task_ids[0], completed=done, status=describe(), refresh=True)
            else:
                print(f"{description}: {describe().lstrip()}", flush=True)

    def advance(count: int) -> None:
        nonlocal shown_at, done
        done += count
        now = time.monotonic()
        if now - shown_at >= seconds_between:
            shown_at = now
            show()

    with bar or contextlib.nullcontext():
        if bar:
            bar.add_task(description, total=total, completed=completed, status=describe())
        yield advance
        if not transient and shown < done:
            show()


def _describe(done: int, total: int, unit: str, newly_done: int, seconds: float) -> str:
    """Returns the count, the rate and the time left."""
    words = [f"{done:>{len(f'{total:,}')},}/{total:,} {unit}".rstrip()]
    if newly_done and seconds >= 1:  # a rate measured over a shorter time says little
        rate = newly_done / seconds
        words.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
        if done < total:
            words.append(f"{format_seconds((total - done) / rate)} left")
    return "  ".join(words)


def _build_bar(transient: bool) -> Any:
    """Returns a bar of `rich.progress`; None where only lines can be shown."""
    from rich.console import Console  # imported here, because a mistake on the command line is answered without it
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console()
    if console.is_jupyter:
        can_show = importlib.util.find_spec("ipywidgets") is not None
    else:
        # Rich takes a pipe for a terminal when FORCE_COLOR is set.
        stdout = sys.stdout
        can_show = stdout is not None and not stdout.closed and stdout.isatty() and not console.is_dumb_terminal
    if not can_show:
        return None
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        TextColumn("{task.fields[status]}", markup=False),
        console=console,
        auto_refresh=False,
        transient=transient,
        # Warnings in a file stay out of the display.
        redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
    )


def format_seconds(seconds: float) -> str:
    """Returns a duration in seconds, minutes or hours, such as "10 s", "2 min" or "2.5 h"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{seconds / 3600:.1f} h"


def import_quietly(name: str) -> Any:
    """Imports a module that may import TensorFlow, without TensorFlow's messages.

    Raises:
        UserError: The module needs TensorFlow, which is not installed.
    """
    try:
        with end_at_once(), hide_startup_messages():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise UserError(
            "TensorFlow is not installed: pip install 'keras-inat[cpu]', or 'keras-inat[cuda]' for an NVIDIA GPU"
        ) from None


@contextlib.contextmanager
def hide_startup_messages() -> Iterator[None]:
    """Hides what TensorFlow prints while it is imported, which no setting turns off. An error shows the messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its messages arrive as errors, too
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns about every new model that it traces
    sys.stderr.flush()
    with tempfile.TemporaryFile() as messages:
        terminal = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except Exception:
            messages.seek(0)
            os.write(terminal, messages.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
