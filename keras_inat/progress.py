"""What a person sees of a long job: how far it is, and not what its libraries say to their developers."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


def show_progress(what: str, done: int, total: int) -> None:
    """Shows `done` of `total`; ends the line when they are equal."""
    if not sys.stdout.isatty():
        if done == total:
            print(f"{what}: {total}/{total}", flush=True)
    elif done == total or done % max(1, total // 200) == 0:
        print(f"\r{what}: {done}/{total}", end="\n" if done == total else "", flush=True)


@contextlib.contextmanager
def hide_startup_messages() -> Iterator[None]:
    """Keeps TensorFlow's remarks while it is imported, which no setting turns off, from the user; shown on failure."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
