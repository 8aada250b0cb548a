"""Imports TensorFlow in the process that tasks are forked from, so that no task has to import it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from keras_inat.progress import hide_startup_messages

POLL_SECONDS = 0.1


@contextmanager
def end_with_parent() -> Iterator[None]:
    """Ends this process during the context if its parent ends. A forkserver itself notices that only after imports."""
    parent = os.getppid()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            if os.getppid() != parent:
                os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield
    done.set()
    watcher.join()  # a process with several threads is not to be forked


with end_with_parent(), hide_startup_messages():
    import keras_inat.training.evaluation  # noqa: F401
