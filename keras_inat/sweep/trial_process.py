"""The process of a trial. The process that searches imports this module, but not the training."""

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from keras_inat.errors import TERMINATED
from keras_inat.settings.schema import Config
from keras_inat.store.records import Result, Trial
from keras_inat.store.runs import RunFolder
from keras_inat.store.sweeps import locate_sweep
from keras_inat.workers import exit_with_parent


@dataclass(frozen=True)
class TrialOutcome:
    """The outcome of a training. One of the three is set."""

    result: Result | None = None  # of a trial that was trained to its end or pruned
    failure: str = ""  # the reason why this configuration cannot be trained, in one line
    error: Exception | None = None  # not caused by the configuration; it stops the sweep


def run_trial(config: Config, trial: Trial) -> TrialOutcome:
    """Trains a recorded trial of a sweep. The import is local, so that only a process that trains loads the training."""
    from keras_inat.sweep.trial import train_trial

    return train_trial(config, trial)


def remove_checkpoint(run: RunFolder, trial: Trial) -> None:
    """Removes the checkpoint of an ended trial, unless a longer trial of Hyperband may resume from it."""
    if "tuner/epochs" not in trial.values:
        run.checkpoint.unlink(missing_ok=True)


def run_in_process(
    run: Callable[[Config, Trial], TrialOutcome],
    config: Config,
    trial: Trial,
    cores: list[int],
    gpu: int | None,
    channel: Connection,
) -> None:
    """Runs a trial in a process of its own. Its output goes to `log.txt` in the folder of the trial.

    Args:
        run: The function that trains, `run_trial` outside of tests.
        config: The configuration of the sweep.
        trial: The trial.
        cores: The CPU cores to use. An empty list means all.
        gpu: The index of the only GPU to use; None means all.
        channel: Receives the `TrialOutcome`.
    """
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
        outcome = TrialOutcome(error=error)
    if outcome.error:
        outcome = TrialOutcome(error=_make_portable(outcome.error))
    channel.send(outcome)


def _make_portable(error: Exception) -> Exception:
    """Returns the error with its traceback as a note. One that cannot be pickled becomes a `RuntimeError`."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.__cause__ = error.__traceback__ = None
    error.add_note(note)
    return error
