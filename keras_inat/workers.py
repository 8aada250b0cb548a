"""Parallel calls of one function in worker processes."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from keras_inat.errors import UserError
from keras_inat.log import warn

Item = TypeVar("Item")
Output = TypeVar("Output")

# With fewer items, starting processes takes longer than it saves.
MIN_ITEMS = 5
# A terminated process has this long to close its files before it is killed.
GRACE_SECONDS = 10.0
# The number of items in the queue per worker. It keeps every worker busy and the queue short.
NUM_QUEUED = 3


def list_cores() -> list[int]:
    """Returns the numbers of the CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def count_cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(list_cores())


def map_unordered(
    function: Callable[[Item], Output], items: Sequence[Item], num_workers: int | None = None
) -> Generator[Output]:
    """Calls `function` on each item in worker processes.

    Args:
        function: A function of a module, so that another process can import it. Its errors are raised here.
        items: The arguments of the calls. They reach the workers a few at a time.
        num_workers: The number of processes, by default one per core. One worker or few items need no process.

    Yields:
        The output of each call, in the order of completion.

    Raises:
        UserError: An item kills its process twice.
    """
    num_workers = min(num_workers or count_cores(), len(items))
    if num_workers < 2 or len(items) < MIN_ITEMS:
        yield from map(function, items)
        return
    running: dict[Future[Output], int] = {}
    done: set[int] = set()
    with contextlib.suppress(BrokenProcessPool), _open_pool(num_workers) as pool:
        upcoming = iter(enumerate(items))
        while True:
            while len(running) < NUM_QUEUED * num_workers and (numbered := next(upcoming, None)):
                running[pool.submit(function, numbered[1])] = numbered[0]
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                output = future.result()
                done.add(running.pop(future))
                yield output
    yield from _map_one_by_one(function, [item for number, item in enumerate(items) if number not in done])


def _map_one_by_one(function: Callable[[Item], Output], items: list[Item]) -> Generator[Output]:
    """Calls `function` on one item at a time in a subprocess, so that a crash cannot kill this process."""
    fatal = None
    while items:
        with contextlib.suppress(BrokenProcessPool), _open_pool(1) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                # A subprocess cannot start if it cannot import the main program: a script on stdin, or one without
                # `if __name__ == "__main__"`.
                yield from map(function, items)
                return
            if fatal is None:
                warn("a worker process was killed; the remaining work runs in one process at a time")
            while items:
                output = pool.submit(function, items[0]).result()
                del items[0]
                yield output
            return
        if items[0] is fatal:
            raise UserError(f"a worker process was killed twice by the same item: {items[0]!r:.300}")
        fatal = items[0]


@contextlib.contextmanager
def _open_pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    # "spawn", because a fork of a process with TensorFlow's threads may hang.
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield pool
    except BaseException:
        # Nobody needs the running calls after an interruption or an error.
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=exit_with_parent, daemon=True).start()


def exit_with_parent() -> None:
    """Waits until the parent process ends, then ends this process. A killed parent cannot stop its workers."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
