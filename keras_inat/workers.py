"""The same function on many tasks, in as many processes as there are cores."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

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
    """
    num_workers = min(num_workers or count_cores(), len(tasks))
    if num_workers < 2 or len(tasks) < MIN_TASKS:
        yield from map(function, tasks)
        return
    # "spawn", since a fork of a process with TensorFlow's threads may hang.
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _start_worker)
    waiting: dict[Future[Result], int] = {}
    done: set[int] = set()
    try:
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
    except BrokenProcessPool:
        # Workers cannot start where the main program cannot be imported again: a script on stdin, or one without
        # `if __name__ == "__main__"`; or one was killed. What is left is done here then.
        pass
    except BaseException:
        # Interrupted, or a task failed: what is in work is given up, so that nobody waits for it.
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    yield from (function(task) for number, task in enumerate(tasks) if number not in done)


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
