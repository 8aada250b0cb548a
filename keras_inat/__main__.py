"""The program `keras-inat`, also as `python -m keras_inat`. Its handlers of signals come before any slow import."""

import atexit
import contextlib
import sys
from collections.abc import Sequence

from keras_inat import signals
from keras_inat.streams import prepare_streams


def main(arguments: Sequence[str]) -> int:
    """Runs one command, as `command_line.run` does."""
    from keras_inat.command_line import run

    return run(arguments)


def enter() -> None:
    """Runs the command of this process, then ends it."""
    prepare_streams()
    signals.handle_signals()
    at_exit = contextlib.ExitStack()
    atexit.register(at_exit.close)  # before those of libraries, which therefore run first and still use their files
    from keras_inat.temporary import use_temporary_folder

    at_exit.enter_context(use_temporary_folder())
    try:
        code: int | str | None = main(sys.argv[1:])
    except SystemExit as ended:
        code = ended.code
    import gc

    # An interrupted training leaves its batches in a reference cycle, and with them threads that call Python. Such a
    # thread makes Python hang or abort when it ends.
    gc.collect()
    sys.exit(signals.end_make(code) if isinstance(code, int) else code)


if __name__ == "__main__":
    enter()
