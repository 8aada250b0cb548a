"""What a person sees of a long job: how far it is, and not what its libraries say to their developers."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator

BAR = 24
SECONDS_BETWEEN = 0.1
# Of what is in progress: when it began, with how much, and when it was last shown.
_started: dict[str, tuple[float, int, float]] = {}


def show_progress(what: str, done: int, total: int) -> None:
    """Shows `done` of `total` as a bar with rate and time left; ends the line when they are equal.

    A terminal sees it grow; a pipe gets one plain line at the end.
    """
    if not sys.stdout.isatty():
        if done == total:
            print(f"{what}: {total:,}/{total:,}", flush=True)
        return
    now = time.monotonic()
    began, first, shown = _started.setdefault(what, (now, done, 0.0))
    if done < total and now - shown < SECONDS_BETWEEN:
        return
    _started[what] = (began, first, now)
    filled = BAR * done // max(total, 1)
    line = f"{what}  [{'#' * filled}{'.' * (BAR - filled)}] {done:>{len(f'{total:,}')},}/{total:,}"
    if done > first and now - began > 1:
        rate = (done - first) / (now - began)
        line += f"  {rate:,.0f}/s" + (f"  {format_seconds((total - done) / rate)} left" if done < total else "")
    width = shutil.get_terminal_size().columns
    print(f"\r{line[: width - 1]:{width - 1}}", end="\n" if done == total else "", flush=True)
    if done == total:
        del _started[what]


def format_seconds(seconds: float) -> str:
    """A time to go, as a person would say it."""
    minutes = round(seconds / 60)
    return f"{seconds / 3600:.1f} h" if minutes >= 60 else f"{minutes} min" if seconds >= 59.5 else f"{seconds:.0f} s"


@contextlib.contextmanager
def hide_startup_messages() -> Iterator[None]:
    """Keeps TensorFlow's remarks while it is imported, which no setting turns off, from the user; shown on failure."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it has to say comes as an error, too
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # every new model is traced, which it warns about
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
