"""What a task does in a process of its own, for the tests of slots."""

import os
import signal
import time

from keras_inat.sweep.trial import Outcome


def _attempts(task):
    with open(task.folder / "attempts", "a") as file:
        file.write("x")
    return (task.folder / "attempts").stat().st_size


def finish(task):
    print("a line for the log")
    return Outcome({"cores": sorted(os.sched_getaffinity(0)), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")})


def die(task):
    _attempts(task)
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(task):
    return die(task) if _attempts(task) == 1 else Outcome({"attempts": 2})


def die_with_forkserver(task):
    if _attempts(task) == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome({"attempts": 2})


def hang(task):
    time.sleep(1000)


def err(task):
    try:
        raise KeyError("missing")
    except KeyError as error:
        return Outcome(mistake=error)


def leave(task):
    os._exit(3)
