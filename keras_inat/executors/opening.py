"""The choice of an executor: this machine, or a Ray cluster."""

import contextlib
import signal
from collections.abc import Iterator

from keras_inat.executors.local import LocalExecutor, open_slots
from keras_inat.executors.tasks import Answer, Executor, Resources


@contextlib.contextmanager
def open_executor(cluster: str | None, resources: Resources, answer: Answer) -> Iterator[Executor]:
    """Opens the executor that `run.cluster` names. Its tasks end on every way out, and their runs can resume."""
    executor: Executor
    if cluster:
        from keras_inat.executors.cluster import ClusterExecutor

        executor = ClusterExecutor(cluster, resources, answer)
    else:
        workers = 1 if resources.workers is None else resources.workers
        executor = LocalExecutor(open_slots(workers, resources.timeout_seconds), answer)
    try:
        yield executor
    finally:
        # A second Ctrl-C must not leave processes behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        executor.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)
