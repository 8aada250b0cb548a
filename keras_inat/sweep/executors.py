"""Places for trials to run: a process each, with its share of the machine, or this process."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import Any

from keras_inat.errors import TERMINATED
from keras_inat.sweep.trial import Outcome, Task, run_apart, run_trial
from keras_inat.training.devices import count_gpus
from keras_inat.workers import GRACE_SECONDS, list_cores

# A process that was killed may have been so with all the sweep's: what is killed next is not blamed for it.
PAUSE_SECONDS = 1.0
ORPHANED = 255  # exit code of a process whose forkserver was killed, too


class Slot:
    """Runs one task after the other in this process."""

    task: Task | None = None

    def start(self, task: Task) -> None:
        self.task, self._outcome = task, run_trial(task)

    def poll(self) -> Outcome | None:
        """The outcome, once there is one; the slot is free then."""
        self.task = None
        return self._outcome

    def terminate(self) -> None:
        """Asks what is running to end."""

    def end(self) -> None:
        """Gives up what is running; it can go on from its last epoch."""


class ProcessSlot(Slot):
    """Runs one task after the other, each in a new process.

    A process that is killed, as it happens where memory runs out, is started once more and goes on from its last epoch;
    if that one is killed too, the task has failed.

    Args:
        cores: That it may use; none for all.
        gpu: The only one that it sees; None for all.
        timeout_seconds: After which a task has failed.
        run: What is done with a task, a function of a module.
    """

    def __init__(
        self,
        cores: Sequence[int],
        gpu: int | None,
        timeout_seconds: float | None,
        run: Callable[[Task], Outcome] = run_trial,
    ) -> None:
        # Forked from a process that has imported TensorFlow and done nothing else: a start takes no time, and no thread
        # of ours is copied in the middle of something.
        self._context = multiprocessing.get_context("forkserver")
        self._cores, self._gpu, self._timeout, self._run = list(cores), gpu, timeout_seconds, run
        self._process: Any = None

    def start(self, task: Task) -> None:
        self.task, self._attempts, self._began = task, 0, time.monotonic()
        self._launch()

    def _launch(self) -> None:
        self._attempts += 1
        self._receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=run_apart, args=(self._run, self.task, self._cores, self._gpu, sender))
        _start(process)
        self._process = process  # only now is there something to end
        sender.close()

    @property
    def sentinel(self) -> Any:
        """What `multiprocessing.connection.wait` waits for."""
        return self._receiver

    def poll(self) -> Outcome | None:
        if self._receiver.poll():
            try:
                outcome = self._receiver.recv()
            except (EOFError, OSError):  # nothing came, or a part
                outcome = self._explain_death()
        elif self._timeout and time.monotonic() - self._began > self._timeout:
            self.end()
            outcome = Outcome(failure=f"TimeoutError: ended after {self._timeout:g} s (`sweep.trial_timeout_seconds`)")
        else:
            return None
        if outcome:
            self.end()
        return outcome

    def _explain_death(self) -> Outcome | None:
        self._process.join()
        code = self._process.exitcode
        if code >= 0 and code not in (TERMINATED, ORPHANED):
            return Outcome(mistake=RuntimeError(f"a trial's process ended with exit code {code}"))
        time.sleep(PAUSE_SECONDS)
        if self._attempts < 2:
            self._receiver.close()
            self._launch()
            return None
        if code == -signal.SIGKILL:
            reason = "MemoryError: its process was killed twice (SIGKILL), as it happens where memory runs out"
        else:
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            reason = f"RuntimeError: its process ended twice by {name}"
        return Outcome(failure=reason)

    def terminate(self) -> None:
        if self._process:
            self._process.terminate()

    def end(self) -> None:
        if self._process is None:
            return
        self.terminate()
        self._process.join(GRACE_SECONDS)
        self._process.kill()
        self._process.join()
        self._process.close()
        self._receiver.close()
        self._process = self.task = None


def _start(process: Any) -> None:
    """Starts a process. A forkserver that is being killed refuses until it is dead, and then Python starts another."""
    end = time.monotonic() + GRACE_SECONDS
    while True:
        try:
            return process.start()
        except (ConnectionError, EOFError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def open_slots(num_workers: int, timeout_seconds: float | None) -> list[Slot]:
    """Slots for so many trials at a time: a GPU each where there are several, the cores shared out otherwise."""
    if num_workers == 0:
        return [Slot()]
    _start_forkserver()
    cores, gpus = list_cores(), count_gpus()
    shares = [cores[number::num_workers] for number in range(num_workers)]
    return [
        ProcessSlot(
            share if num_workers > 1 and not gpus else [], number % gpus if num_workers > 1 and gpus > 1 else None,
            timeout_seconds,
        )
        for number, share in enumerate(shares)
    ]  # fmt: skip


def _start_forkserver() -> None:
    """Starts the process that trials are forked from, which Ctrl-C must not end while it imports."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forkserver.set_forkserver_preload(["keras_inat.sweep.preload"])
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, before)


def wait_for(slots: Sequence[Slot], timeout_seconds: float) -> None:
    """Waits until one of the busy slots may have an outcome, or the time is over."""
    busy = [slot for slot in slots if slot.task]
    sentinels = [slot.sentinel for slot in busy if isinstance(slot, ProcessSlot)]
    if len(sentinels) == len(busy):  # what runs in this process has an outcome already
        wait(sentinels, timeout_seconds)
