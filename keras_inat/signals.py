"""Ctrl-C and SIGTERM end a command with one line on stderr, from the first import to the end of its process.

A program that imports this module keeps its own handlers: only `handle_signals` replaces them.
"""

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130  # the exit codes, as shells report these signals
TERMINATED = 143
MAKE_SECONDS = 0.1  # for make to notice a signal before its command ends, or it complains of a lost child
_WORDS = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}
_SIGNALS = {INTERRUPTED: signal.SIGINT, TERMINATED: signal.SIGTERM}

_stderr = 2  # TensorFlow's messages are hidden by another file in its place
_raises = False
_code: int | None = None  # of the first signal


def handle_signals() -> None:
    """Handles SIGINT and SIGTERM. Either ends this process at once, unless it arrives in `raise_signals`."""
    global _stderr
    with contextlib.suppress(OSError):  # it may be closed
        _stderr = os.dup(2)
    for number in _SIGNALS.values():
        if signal.getsignal(number) != signal.SIG_IGN:  # as in `nohup`
            signal.signal(number, _handle)
            # Python's last steps come after the work, and give signals their default: an end without a line.
            atexit.register(signal.signal, number, signal.SIG_IGN)


@contextlib.contextmanager
def raise_signals() -> Iterator[None]:
    """Turns SIGINT into `KeyboardInterrupt` and SIGTERM into `SystemExit`, so that work is ended in order.

    Imports need the other way: an exception within them becomes any other error, or is lost.
    """
    with _set_raises(True):
        yield


@contextlib.contextmanager
def end_at_once() -> Iterator[None]:
    """Lets signals end the process at once, as for imports within `raise_signals`."""
    with _set_raises(False):
        yield


def received_code() -> int | None:
    """Returns the exit code for the signal that was raised; None without one."""
    return _code


def describe_end(code: int) -> str:
    """Returns the line for the end of a command by a signal."""
    return f"{_WORDS[code]}: finished work is kept, run the command again to resume"


def end_make(code: int) -> int:
    """Sends the signal that ended this process to the `make` that runs it. Returns the exit code of this process.

    Make writes an error of its own below our line if its command fails, and none if the signal reaches make as well.
    """
    make = os.environ.get("KERAS_INAT_MAKE", "")
    if code not in _SIGNALS or make != str(os.getppid()):
        return code
    os.kill(int(make), _SIGNALS[code])
    time.sleep(MAKE_SECONDS)
    return 0


def _handle(number: int, frame: FrameType | None) -> None:
    global _code
    code = INTERRUPTED if number == signal.SIGINT else TERMINATED
    is_first = _code is None
    _code = _code or code
    if not _raises:
        for each in _SIGNALS.values():  # make passes on what it receives
            signal.signal(each, signal.SIG_IGN)
        if is_first:
            with contextlib.suppress(OSError):
                os.write(_stderr, f"{describe_end(code)}\n".encode())
        os._exit(end_make(code))
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    sys.exit(code)


@contextlib.contextmanager
def _set_raises(value: bool) -> Iterator[None]:
    global _raises
    before = _raises
    _raises = value
    try:
        yield
    finally:
        _raises = before
