"""Slots that run trials: each trial in a process with its own cores and GPU, or all in this process."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import Any

from keras_inat.errors import TERMINATED
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial
from keras_inat.sweep.trial_process import TrialOutcome, run_in_process, run_trial
from keras_inat.training.devices import count_gpus
from keras_inat.workers import GRACE_SECONDS, list_cores

# If all processes of the sweep are being killed, this one ends during the pause and blames no configuration.
PAUSE_SECONDS = 1.0
ORPHANED = 255  # exit code of a process whose forkserver was killed too


class Slot:
    """Runs one trial at a time in this process.

    Attributes:
        trial: The trial that it runs; None while it is free.
    """

    trial: Trial | None = None

    def start(self, config: Config, trial: Trial) -> None:
        """Starts a trial."""
        self.trial = trial
        self._outcome = run_trial(config, trial)

    def poll(self) -> TrialOutcome | None:
        """Returns the outcome and frees the slot; None while the trial runs."""
        self.trial = None
        return self._outcome

    def terminate(self) -> None:
        """Asks the running trial to end."""

    def end(self) -> None:
        """Ends the running trial. It can resume from its last epoch."""


class ProcessSlot(Slot):
    """Runs one trial at a time, each in a new process.

    A killed process, as happens when memory runs out, is started once more and resumes from its last epoch. The trial
    has failed if the second process is killed too.

    Args:
        cores: The CPU cores to use. An empty list means all.
        gpu: The index of the only GPU to use; None means all.
        timeout_seconds: The time after which a trial fails; None means no limit.
        run: The function that trains. It belongs to a module, so that another process can import it.
    """

    def __init__(
        self,
        cores: Sequence[int],
        gpu: int | None,
        timeout_seconds: float | None,
        run: Callable[[Config, Trial], TrialOutcome] = run_trial,
    ) -> None:
        # The forkserver has imported TensorFlow and runs nothing else. A process starts in no time, and no thread of
        # this process is forked in the middle of its work.
        self._context = multiprocessing.get_context("forkserver")
        self._cores = list(cores)
        self._gpu = gpu
        self._timeout = timeout_seconds
        self._run = run
        self._process: Any = None

    def start(self, config: Config, trial: Trial) -> None:
        self.trial = trial
        self._config = config
        self._attempts = 0
        self._began = time.monotonic()
        self._launch()

    def _launch(self) -> None:
        self._attempts += 1
        self._receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=run_in_process, args=(self._run, self._config, self.trial, self._cores, self._gpu, sender)
        )
        _start(process)
        self._process = process  # before this line there is nothing to end
        sender.close()

    @property
    def sentinel(self) -> Any:
        """The object to pass to `multiprocessing.connection.wait`."""
        return self._receiver

    def poll(self) -> TrialOutcome | None:
        if self._receiver.poll():
            try:
                outcome = self._receiver.recv()
            except (EOFError, OSError):  # the process died before it had sent everything
                outcome = self._explain_death()
        elif self._timeout and time.monotonic() - self._began > self._timeout:
            outcome = TrialOutcome(
                failure=f"TimeoutError: ended after {self._timeout:g} s (`sweep.trial_timeout_seconds`)"
            )
        else:
            return None
        if outcome:
            self.end()
        return outcome

    def _explain_death(self) -> TrialOutcome | None:
        """Returns the outcome of a process that died; None if it was started once more."""
        self._process.join()
        code = self._process.exitcode
        if code >= 0 and code not in (TERMINATED, ORPHANED):
            return TrialOutcome(error=RuntimeError(f"a trial's process ended with exit code {code}"))
        time.sleep(PAUSE_SECONDS)
        if self._attempts < 2:
            self._receiver.close()
            self._launch()
            return None
        if code == -signal.SIGKILL:
            return TrialOutcome(
                failure="MemoryError: its process was killed twice (SIGKILL), as happens when memory runs out"
            )
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return TrialOutcome(failure=f"RuntimeError: its process ended twice by {name}")

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
        self._process = None
        self.trial = None


def open_slots(num_workers: int, timeout_seconds: float | None) -> list[Slot]:
    """Opens slots for a number of trials at a time.

    Several slots get one GPU each where there are GPUs. Otherwise they divide the CPU cores among them. With 0
    workers, one slot runs its trials in this process.
    """
    if num_workers == 0:
        return [Slot()]
    _start_forkserver()
    all_cores = list_cores()
    num_gpus = count_gpus()
    slots: list[Slot] = []
    for number in range(num_workers):
        cores = all_cores[number::num_workers] if num_workers > 1 and not num_gpus else []
        gpu = number % num_gpus if num_workers > 1 and num_gpus > 1 else None
        slots.append(ProcessSlot(cores, gpu, timeout_seconds))
    return slots


def wait_for(slots: Sequence[Slot], timeout_seconds: float) -> None:
    """Waits until a busy slot may have an outcome, or until the time is over."""
    busy = [slot for slot in slots if slot.trial]
    sentinels = [slot.sentinel for slot in busy if isinstance(slot, ProcessSlot)]
    if len(sentinels) == len(busy):  # a trial of this process has its outcome already
        wait(sentinels, timeout_seconds)


def _start_forkserver() -> None:
    """Starts the process that trials are forked from. Ctrl-C must not end it while it imports TensorFlow."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forkserver.set_forkserver_preload(["keras_inat.sweep.preload"])
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, handler)


def _start(process: Any) -> None:
    """Starts a process. A forkserver that is being killed refuses until it is dead; then Python starts another."""
    end = time.monotonic() + GRACE_SECONDS
    while True:
        try:
            return process.start()
        except (ConnectionError, EOFError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
