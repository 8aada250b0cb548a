"""Slots that run trials: each trial in a process with its own cores and GPU, or all in this process.

The imports of TensorFlow are local: a process that is about to train loads this module first.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any

from keras_inat.errors import TERMINATED
from keras_inat.settings.schema import Config
from keras_inat.store.records import Result, Trial
from keras_inat.store.sweeps import locate_sweep
from keras_inat.workers import GRACE_SECONDS, exit_with_parent, list_cores

# A pause before a configuration is blamed. If the whole sweep is being killed, this process ends during it.
PAUSE_SECONDS = 1.0
ORPHANED = 255  # exit code of a process whose forkserver was killed too
# The forkserver has imported TensorFlow and runs nothing else. A process starts in no time, and no thread of this
# process is forked in the middle of its work.
CONTEXT = multiprocessing.get_context("forkserver")


# The result of a trial that was trained to its end or pruned; or a reason, in one line, why its configuration cannot be
# trained; or an error that stops the sweep.
Outcome = Result | str | Exception


def run_trial(config: Config, trial: Trial) -> Outcome:
    """Trains a recorded trial of a sweep."""
    from keras_inat.search.trial import train_trial

    return train_trial(config, trial)


Train = Callable[[Config, Trial], Outcome]


class Slot:
    """Runs one trial at a time in this process."""

    trial: Trial | None = None  # the trial that it runs; None while it is free

    def start(self, config: Config, trial: Trial) -> None:
        """Starts a trial. In this process, the call returns when the trial has ended."""
        self.trial = trial
        self._outcome = run_trial(config, trial)

    def poll(self) -> Outcome | None:
        """Returns the outcome and frees the slot; None while the trial runs."""
        self.trial = None
        return self._outcome

    def terminate(self) -> None:
        """Asks the running trial to end."""

    def end(self) -> None:
        """Ends the running trial. It can resume from its last epoch."""


@dataclass(eq=False)
class ProcessSlot(Slot):
    """Runs one trial at a time, each in a new process.

    A killed process, as happens when memory runs out, is started once more and resumes from its last epoch. The trial
    has failed if the second process is killed too.
    """

    cores: Sequence[int]  # the CPU cores to use; none means all
    gpu: int | None  # the index of the only GPU to use; None means all
    timeout_seconds: float | None  # the time after which a trial fails; None means no limit
    run: Train = run_trial  # it belongs to a module, so that another process can import it
    _process: Any = None

    def start(self, config: Config, trial: Trial) -> None:
        self.trial = trial
        self._config = config
        self._attempts = 0
        self._began = time.monotonic()
        self._launch()

    def _launch(self) -> None:
        self._attempts += 1
        self.receiver, sender = CONTEXT.Pipe(duplex=False)
        arguments = (self.run, self._config, self.trial, self.cores, self.gpu, sender)
        process = CONTEXT.Process(target=_run_in_process, args=arguments)
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
        sender.close()

    def poll(self) -> Outcome | None:
        outcome: Outcome | None = None
        if self.receiver.poll():
            try:
                outcome = self.receiver.recv()
            except (EOFError, OSError):  # the process died before it had sent everything
                outcome = self._explain_death()
        elif self.timeout_seconds and time.monotonic() - self._began > self.timeout_seconds:
            outcome = f"TimeoutError: ended after {self.timeout_seconds:g} s (`sweep.trial_timeout_seconds`)"
        if outcome:
            self.end()
        return outcome

    def _explain_death(self) -> Outcome | None:
        """Returns the outcome of a process that died; None if it was started once more."""
        self._process.join()
        code = self._process.exitcode
        if code >= 0 and code not in (TERMINATED, ORPHANED):
            return RuntimeError(f"a trial's process ended with exit code {code}")
        time.sleep(PAUSE_SECONDS)
        if self._attempts < 2:
            self.receiver.close()
            self._launch()
            return None
        if code == -signal.SIGKILL:
            return "MemoryError: its process was killed twice (SIGKILL), as happens when memory runs out"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"RuntimeError: its process ended twice by {name}"

    def terminate(self) -> None:
        if self._process:
            self._process.terminate()

    def end(self) -> None:
        if self._process:
            self.terminate()
            self._process.join(GRACE_SECONDS)
            self._process.kill()
            self._process.join()
            self._process.close()
            self.receiver.close()
            self._process = None
            self.trial = None


def open_slots(num_workers: int, timeout_seconds: float | None) -> list[Slot]:
    """Opens slots for a number of trials at a time. With 0 workers, one slot runs its trials in this process.

    Several slots get one GPU each where there are GPUs. Otherwise they divide the CPU cores among them.
    """
    from keras_inat.training.devices import count_gpus

    if num_workers == 0:
        return [Slot()]
    # Ctrl-C must not end the forkserver while it imports TensorFlow.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forkserver.set_forkserver_preload(["keras_inat.search.preload"])
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, handler)
    if num_workers == 1:
        return [ProcessSlot([], None, timeout_seconds)]
    all_cores = list_cores()
    num_gpus = count_gpus()
    slots: list[Slot] = []
    for number in range(num_workers):
        cores = all_cores[number::num_workers] if not num_gpus else []
        gpu = number % num_gpus if num_gpus > 1 else None
        slots.append(ProcessSlot(cores, gpu, timeout_seconds))
    return slots


def wait_for(slots: Sequence[Slot], timeout_seconds: float) -> None:
    """Waits until a busy slot may have an outcome, or until the time is over."""
    busy = [slot for slot in slots if slot.trial]
    receivers = [slot.receiver for slot in busy if isinstance(slot, ProcessSlot)]
    if len(receivers) == len(busy):  # no waiting for a trial of this process: it has ended
        wait(receivers, timeout_seconds)


def _run_in_process(
    run: Train, config: Config, trial: Trial, cores: Sequence[int], gpu: int | None, pipe: Connection
) -> None:
    """Sends the outcome of a trial from its process. The output goes to `log.txt` in the folder of the trial."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends its trials
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # an orderly exit lets W&B write its files
    threading.Thread(target=exit_with_parent, daemon=True).start()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    # Otherwise the first trial on a GPU takes all of its memory.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if gpu is not None:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = given.split(",")[gpu] if given else str(gpu)
    folder = locate_sweep(config).trial_run(trial.id).path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "a", buffering=1, encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            outcome = run(config, trial)
    except OSError as error:  # the disk is too full for a log
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
