"""One trial of a sweep, in this process or in one of its own: the same `fit` as everything else."""

import errno
import gc
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import keras

from keras_inat.errors import FULL_DISK, TERMINATED, ObstacleError, UserError, is_out_of_memory
from keras_inat.files import hold_lock, remove_parts, write_json
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, open_run
from keras_inat.sweep.pruning import RULES, read_curves
from keras_inat.sweep.space import decode_values, describe_values
from keras_inat.training.checkpoint import read_progress
from keras_inat.training.session import fit
from keras_inat.workers import end_with_parent

# What a configuration that cannot be trained raises; anything else is a mistake in the program and stops the sweep.
FAILURES = (UserError, FloatingPointError)


@dataclass(frozen=True)
class Task:
    """A configuration to try.

    Attributes:
        config: Of the sweep.
        id: Of the trial.
        values: Its hyperparameters as KerasTuner encodes them.
        folder: Where its files go, beside those of the other trials.
    """

    config: Config
    id: str
    values: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a task: the trial's `result.json`, why it failed, or what stops the sweep."""

    result: dict[str, Any] | None = None
    failure: str = ""
    mistake: Exception | None = None


def run_trial(task: Task) -> Outcome:
    """Trains a configuration, from where an earlier attempt was interrupted, and judges it by validation accuracy."""
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        # The process of a sweep that was just killed may not have ended yet.
        with hold_lock(RunFolder(task.folder, "sweep").lock):
            return Outcome(_train(task))
    except Exception as error:
        if FULL_DISK in str(error):
            return Outcome(mistake=OSError(errno.ENOSPC, FULL_DISK, str(task.folder)))
        if isinstance(error, ObstacleError):
            return Outcome(mistake=error)
        if isinstance(error, FAILURES) or is_out_of_memory(error):
            return Outcome(failure=" ".join(f"{type(error).__name__}: {error}".split())[:500])
        return Outcome(mistake=error)
    finally:
        keras.utils.clear_session()
        gc.collect()


def configure_trial(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration that a trial with these settings trains."""
    return override(config, {"training.epochs": config.sweep.epochs, "training.min_steps": 0} | dict(settings))


def loses(task: Task) -> bool:
    """Whether a trial is to be pruned, by the epochs on record of its own and of the trials beside it."""
    curves = read_curves(task.folder.parent)
    own = curves.pop(task.id)
    return RULES[task.config.sweep.prune](own, list(curves.values()), task.config.sweep.epochs)


def run_apart(
    run: Callable[[Task], Outcome], task: Task, cores: list[int], gpu: int | None, channel: Connection
) -> None:
    """Runs a task in a process of its own, on some cores and one GPU; sends the outcome, logs into its folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends its trials
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # and W&B writes what it has
    threading.Thread(target=end_with_parent, daemon=True).start()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or the first trial on a GPU would take all its memory
    if gpu is not None:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = given.split(",")[gpu] if given else str(gpu)
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        with open(task.folder / "log.txt", "a", buffering=1, encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            outcome = run(task)
    except OSError as error:  # no room for as much as a log
        outcome = Outcome(mistake=error)
    if outcome.mistake:
        outcome = Outcome(mistake=_make_portable(outcome.mistake))
    channel.send(outcome)


def _train(task: Task) -> dict[str, Any]:
    run = RunFolder(task.folder, "sweep")
    if result := run.read_result():  # the attempt before was killed when all was done
        forget_checkpoint(task.folder, task.values)
        return result
    settings = decode_values(task.config, task.values)
    config = configure_trial(task.config, settings)
    if read_progress(run) is None:
        open_run(config, run.path, run.command)
        if parent := task.values.get("tuner/trial_id"):  # hyperband goes on with what was stopped
            for name in (run.metrics.name, run.checkpoint.name):
                shutil.copy(task.folder.parent / parent / name, task.folder / name)
    remove_parts(task.folder)
    pruned = False

    def stop(epoch: int) -> bool:
        nonlocal pruned
        if planned := task.values.get("tuner/epochs"):
            return epoch >= planned
        pruned = loses(task)
        return pruned

    title = f"{task.id} {describe_values(settings)}"
    result = fit(config, run, f"trial {task.id}", group=config.run.name, title=title, stop=stop).result
    result["pruned"] = pruned
    write_json(run.result, result)
    forget_checkpoint(task.folder, task.values)
    return result


def forget_checkpoint(folder: Path, values: Mapping[str, Any]) -> None:
    """Removes what an ended trial was to go on from, unless hyperband may."""
    if "tuner/epochs" not in values:
        RunFolder(folder, "sweep").checkpoint.unlink(missing_ok=True)


def _make_portable(error: Exception) -> Exception:
    """The same error, with its traceback as a note, or its words where it cannot be sent."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.__cause__ = error.__traceback__ = None
    error.add_note(note)
    return error
