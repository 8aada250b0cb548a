"""Functions that the tests run in processes of their own. This module imports no TensorFlow."""

import os
import signal
import time


def _count_attempts(task):
    path = task.run.path / "attempts"
    with open(path, "a") as file:
        file.write("x")
    return path.stat().st_size


def finish(task, ask):
    print(f"cores {sorted(os.sched_getaffinity(0))}, GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    return "finished"


def inquire(task, ask):
    return f"{ask(1)} {ask(2)}"


def inquire_and_die(task, ask):
    if _count_attempts(task) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return ask(3)


def die(task, ask):
    _count_attempts(task)
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(task, ask):
    if _count_attempts(task) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "finished"


def die_with_forkserver(task, ask):
    if _count_attempts(task) == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return "finished"


def hang(task, ask):
    time.sleep(1000)


def err(task, ask):
    raise KeyError("missing")


def err_strangely(task, ask):
    class StrangeError(Exception):
        """An error that cannot be pickled."""

    raise StrangeError("odd")


def leave(task, ask):
    os._exit(3)


def train(task, ask):
    """Writes the files of a training with two epochs, and asks after each of them."""
    run = task.run
    begun = len(run.read_epochs())
    print(f"resumes after {begun}", flush=True)
    for number in range(begun + 1, 3):
        run.append_epoch(task.argument[number - 1])
        run.model.write_text(f"model {number}")
        run.checkpoint.write_text(f"checkpoint {number}")
        ask(number)
    task.argument[2].model_copy(update={"config": task.config}).write(run.result)
    return run.read_result()


def hang_after_an_epoch(task, ask):
    task.run.append_epoch(task.argument[0])
    task.run.checkpoint.write_text("checkpoint 1")
    time.sleep(1000)
