"""Functions that the tests run in processes of their own. This module imports no TensorFlow."""

import os
import signal
import time

from keras_inat.store.sweeps import locate_sweep


def _count_attempts(config, trial):
    path = locate_sweep(config).trial_run(trial.id).path / "attempts"
    with open(path, "a") as file:
        file.write("x")
    return path.stat().st_size


def finish(config, trial):
    print(f"cores {sorted(os.sched_getaffinity(0))}, GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    return "finished"


def die(config, trial):
    _count_attempts(config, trial)
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(config, trial):
    if _count_attempts(config, trial) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "finished"


def die_with_forkserver(config, trial):
    if _count_attempts(config, trial) == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return "finished"


def hang(config, trial):
    time.sleep(1000)


def err(config, trial):
    try:
        raise KeyError("missing")
    except KeyError as error:
        return error


def leave(config, trial):
    os._exit(3)
