"""Tasks on this machine: each in a process with its own cores and GPU, or all in this process.

The imports of TensorFlow are local: a process that is about to train loads this module first.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from keras_inat.executors.tasks import Answer, Outcome, Task
from keras_inat.signals import TERMINATED
from keras_inat.temporary import use_temporary_folder
from keras_inat.workers import GRACE_SECONDS, list_cores, obey_parent

# A pause before a task is blamed. If the whole command is being killed, this process ends during it.
PAUSE_SECONDS = 1.0
ORPHANED = 255  # exit code of a process whose forkserver was killed too
# The forkserver has imported TensorFlow and runs nothing else. A process starts in no time, and no thread of this
# process is forked in the middle of its work.
CONTEXT = multiprocessing.get_context("forkserver")
PRELOAD = ["keras_inat.executors.preload", "keras_inat.search.trial"]  # the second has the function of a trial


class Question(NamedTuple):
    """A question of a task. The task waits for the answer."""

    value: Any


class LocalExecutor:
    """Runs tasks in processes of this machine. Without a slot, it runs each task in this process."""

    def __init__(self, slots: Sequence["ProcessSlot"], answer: Answer) -> None:
        self._slots = slots
        self._answer = answer
        self._ended: list[tuple[Task, Outcome]] = []  # in this process

    @property
    def num_free(self) -> int:
        if not self._slots:
            return int(not self._ended)
        return sum(slot.task is None for slot in self._slots)

    def start(self, task: Task) -> None:
        if not self._slots:
            self._ended.append((task, task.perform(lambda value: self._answer(task, value))))
            return
        next(slot for slot in self._slots if slot.task is None).start(task)

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        ended, self._ended = self._ended, []
        if not ended:
            wait([slot.pipe for slot in self._slots if slot.task], seconds)
        for slot in self._slots:
            if task := slot.task:
                message = slot.poll()
                if isinstance(message, Question):
                    slot.reply(self._answer(task, message.value))
                elif message:
                    ended.append((task, message))
        return ended

    def close(self) -> None:
        for slot in self._slots:
            slot.terminate()
        for slot in self._slots:
            slot.end()


@dataclass(eq=False)
class ProcessSlot:
    """Runs one task at a time, each in a new process.

    A killed process, as happens when memory runs out, is started once more, and its run resumes from its last epoch.
    The task has failed if the second process is killed too.
    """

    cores: Sequence[int] = ()  # the CPU cores to use; none means all
    environment: Mapping[str, str] = field(default_factory=dict)  # additional environment variables
    timeout_seconds: float | None = None  # the time after which a task fails; None means no limit
    task: Task | None = None  # the task that it runs; None while it is free
    _process: Any = None

    def start(self, task: Task) -> None:
        self.task = task
        self._attempts = 0
        self._began = time.monotonic()
        self._launch()

    def _launch(self) -> None:
        self._attempts += 1
        self.pipe, other_end = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_run_in_process, args=(self.task, self.cores, self.environment, other_end))
        end = time.monotonic() + GRACE_SECONDS
        while True:
            try:
                process.start()
                break
            except (ConnectionError, EOFError):
                # A forkserver that is being killed refuses until it is dead; then Python starts another.
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        self._process = process  # set once it has started: only then is there something to end
        other_end.close()

    def poll(self) -> Question | Outcome | None:
        """Returns a question of the task, or its outcome, after which the slot is free; None while it runs."""
        message: Question | Outcome | None = None
        if self.pipe.poll():
            try:
                message = self.pipe.recv()
            except (EOFError, OSError):  # the process died before it had sent everything
                message = self._explain_death()
        elif self.timeout_seconds and time.monotonic() - self._began > self.timeout_seconds:
            message = f"TimeoutError: ended after {self.timeout_seconds:g} s (`sweep.trial_timeout_seconds`)"
        if message and not isinstance(message, Question):
            self.end()
        return message

    def reply(self, answer: Any) -> None:
        """Answers the question of the task. A task that has died meanwhile needs no answer."""
        with contextlib.suppress(OSError):
            self.pipe.send(answer)

    def _explain_death(self) -> Outcome | None:
        """Returns the outcome of a process that died; None if it was started once more."""
        self._process.join()
        code = self._process.exitcode
        if code >= 0 and code not in (TERMINATED, ORPHANED):
            return RuntimeError(f"the process of a training ended with exit code {code}")
        time.sleep(PAUSE_SECONDS)
        if self._attempts < 2:
            self.pipe.close()
            self._launch()
            return None
        if code == -signal.SIGKILL:
            return "MemoryError: its process was killed twice (SIGKILL), as happens when memory runs out"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"RuntimeError: its process ended twice by {name}"

    def terminate(self) -> None:
        """Asks the running task to end."""
        if self._process:
            self._process.terminate()

    def end(self) -> None:
        """Ends the running task. Its run can resume from its last epoch."""
        if self._process:
            self.terminate()
            self._process.join(GRACE_SECONDS)
            self._process.kill()
            self._process.join()
            self._process.close()
            self.pipe.close()
            self._process = None
            self.task = None


def open_slots(num_workers: int, timeout_seconds: float | None = None) -> list[ProcessSlot]:
    """Opens slots for a number of tasks at a time.

    Several slots get one GPU each where there are GPUs. Otherwise they divide the CPU cores among them.
    """
    if num_workers == 0:
        return []
    start_forkserver()
    if num_workers == 1:
        return [ProcessSlot(timeout_seconds=timeout_seconds)]
    from keras_inat.training.devices import count_gpus

    all_cores = list_cores()
    num_gpus = count_gpus()
    slots = []
    for number in range(num_workers):
        cores = all_cores[number::num_workers] if not num_gpus else []
        environment = _choose_gpu(number % num_gpus) if num_gpus > 1 else {}
        slots.append(ProcessSlot(cores, environment, timeout_seconds))
    return slots


def start_forkserver() -> None:
    """Starts the process that the processes of tasks are forked from."""
    # Ctrl-C must not end it while it imports TensorFlow.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forkserver.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, handler)


def _choose_gpu(index: int) -> dict[str, str]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": given.split(",")[index] if given else str(index)}


def _run_in_process(task: Task, cores: Sequence[int], environment: Mapping[str, str], pipe: Connection) -> None:
    """Sends the outcome of a task from its process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # an orderly exit lets W&B write its files
    obey_parent()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    # Otherwise the first training on a GPU takes all of its memory.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.update(environment)

    def ask(question: Any) -> Any:
        pipe.send(Question(question))
        return pipe.recv()

    try:
        if task.run:
            task.run.path.mkdir(parents=True, exist_ok=True)
            with open(task.run.log, "a", buffering=1, encoding="utf-8") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
        with use_temporary_folder():  # the process ends without the exit handlers that would empty it
            outcome = task.perform(ask)
    except Exception as error:
        outcome = error
    pipe.send(_make_portable(outcome) if isinstance(outcome, Exception) else outcome)


def _make_portable(error: Exception) -> Exception:
    """Returns the error with its traceback as a note. One that cannot be pickled becomes a `RuntimeError`."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
