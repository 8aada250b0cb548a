"""Parallel calls of one function in worker processes or in threads."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
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
POLL_SECONDS = 0.1  # between two looks for the parent
# The number of items in the queue per worker. It keeps every worker busy and the queue short.
NUM_QUEUED = 3
# The number of outputs of threads that are prepared in advance: two batches.
NUM_AHEAD = 128


def list_cores() -> list[int]:
    """Returns the numbers of the CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def map_unordered(
    function: Callable[[Item], Output], items: Sequence[Item], num_workers: int | None = None
) -> Generator[Output]:
    """Calls `function` on each item in worker processes, and yields the outputs in the order of completion.

    Args:
        function: A function of a module, so that another process can import it. Its errors are raised here.
        items: The arguments of the calls. They reach the workers a few at a time.
        num_workers: The number of processes, by default one per core. One worker or few items need no process.

    Raises:
        UserError: An item kills its process twice.
    """
    num_workers = min(num_workers or len(list_cores()), len(items))
    if num_workers < 2 or len(items) < MIN_ITEMS or not _has_semaphores():
        yield from map(function, items)
        return
    num_queued = NUM_QUEUED * num_workers
    remaining = dict(enumerate(items))
    suspect = None
    while remaining:
        with contextlib.suppress(BrokenProcessPool), _open_pool(num_workers) as pool:
            running: dict[Future[Output], int] = {}
            upcoming = iter(list(remaining))
            while remaining:
                for number in itertools.islice(upcoming, num_queued - len(running)):
                    running[pool.submit(function, remaining[number])] = number
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    output = future.result()
                    del remaining[running.pop(future)]
                    yield output
            return
        first = next(iter(remaining))
        if num_queued == 1:
            if first == suspect:
                raise UserError(f"a worker process was killed twice by the same item: {items[first]!r:.300}")
            suspect = first
        elif _can_start_processes():
            warn("a worker process was killed; the remaining work runs in one process at a time")
            num_workers = 1
            num_queued = 1
        else:
            yield from map(function, remaining.values())
            return


def map_in_threads(
    function: Callable[[Item], Output],
    items: Iterable[Item],
    num_ahead: int = NUM_AHEAD,
    *,
    num_threads: int | None = None,
    ordered: bool = True,
    stop: Callable[[], None] = lambda: None,
) -> Generator[Output]:
    """Calls `function` on each item in threads, and yields the outputs in the order of the items.

    Threads start at once, unlike processes. They help where most of the work is done outside Python, as in decoders.

    Args:
        function: Its errors are raised here.
        items: The arguments of the calls. They are taken `num_ahead` before their outputs are, and no earlier.
        num_ahead: The number of outputs that are prepared while earlier ones are used.
        num_threads: The number of threads, by default one per core.
        ordered: False for the outputs in the order of completion.
        stop: Is called at the end and after an interruption. It ends running calls early.
    """
    remaining = iter(items)
    pool = ThreadPoolExecutor(num_threads or len(list_cores()))
    try:
        upcoming = deque(pool.submit(function, item) for item in itertools.islice(remaining, num_ahead))
        while upcoming:
            first = upcoming[0] if ordered else next(iter(wait(upcoming, return_when=FIRST_COMPLETED).done))
            upcoming.remove(first)
            upcoming.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield first.result()
    finally:
        stop()
        pool.shutdown(cancel_futures=True)


def _has_semaphores() -> bool:
    """Returns False, with a warning, if processes cannot share semaphores: /dev/shm is full, read-only or missing."""
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")):  # it starts no process before a call
            return True
    except (OSError, ImportError, NotImplementedError) as error:
        warn(f"the work runs in one process, because several cannot share /dev/shm: {error}")
        return False


def _can_start_processes() -> bool:
    """Returns False if the main program cannot be imported, such as a script on stdin or without a `__main__` guard."""
    with _open_pool(1) as pool:
        return pool.submit(os.getpid).exception() is None


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
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    obey_parent()


def obey_parent() -> None:
    """Lets this process end with its parent, as a killed parent cannot stop it, and only its parent end by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the parent, too
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


@contextlib.contextmanager
def end_with_parent() -> Iterator[None]:
    """Ends this process at once if its parent ends during the context. It needs no connection to the parent."""
    parent = os.getppid()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            if os.getppid() != parent:
                os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()  # a process with several threads is not to be forked
