"""The same function on many tasks, in as many processes as there are cores."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from keras_inat.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Starting a process takes as long as this many tasks are assumed to take.
MIN_TASKS = 5
# What a terminated process has to close its files before it is killed.
GRACE_SECONDS = 10.0
# Tasks a process has waiting, so that it never runs dry, and not many more.
AHEAD = 3


def list_cores() -> list[int]:
    """The numbers of the CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(list_cores())


def map_unordered(
    function: Callable[[Task], Result], tasks: Sequence[Task], num_workers: int | None = None
) -> Generator[Result]:
    """Calls `function` on each task in worker processes; yields the results as they come.

    Args:
        function: Of a module, so that it can be named to another process. What it raises is raised here.
        tasks: Of which a few at a time are sent to the workers.
        num_workers: By default one a core. With few tasks, or one worker, all is done in this process.

    Yields:
        A result a task.

    Raises:
        UserError: When a task ends its process each time.
    """
    num_workers = min(num_workers or count_cores(), len(tasks))
    if num_workers < 2 or len(tasks) < MIN_TASKS:
        yield from map(function, tasks)
        return
    waiting: dict[Future[Result], int] = {}
    done: set[int] = set()
    with contextlib.suppress(BrokenProcessPool), _open_pool(num_workers) as pool:
        upcoming = iter(enumerate(tasks))
        while True:
            while len(waiting) < AHEAD * num_workers and (item := next(upcoming, None)):
                waiting[pool.submit(function, item[1])] = item[0]
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                result = future.result()
                done.add(waiting.pop(future))
                yield result
    yield from _go_on(function, [task for number, task in enumerate(tasks) if number not in done])


def _go_on(function: Callable[[Task], Result], tasks: list[Task]) -> Generator[Result]:
    """What was left when a process died, one after the other, away from this process, which is not to die of it too."""
    fatal = None
    while tasks:
        with contextlib.suppress(BrokenProcessPool), _open_pool(1) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                # None can start where the main program cannot be imported again: a script on stdin, or one without
                # `if __name__ == "__main__"`.
                yield from map(function, tasks)
                return
            if fatal is None:
                print("warning: a process was killed; going on with one at a time", file=sys.stderr)
            while tasks:
                result = pool.submit(function, tasks[0]).result()
                del tasks[0]
                yield result
            return
        if tasks[0] is fatal:
            raise UserError(f"a process is killed each time at the same task: {tasks[0]!r:.300}")
        fatal = tasks[0]


@contextlib.contextmanager
def _open_pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    # "spawn", since a fork of a process with TensorFlow's threads may hang.
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield pool
    except BaseException:
        # Interrupted, or a task failed: what is in work is given up, so that nobody waits for it.
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which stops its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Waits for the parent's end, then ends this process: a parent that was killed outright cannot do so."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
