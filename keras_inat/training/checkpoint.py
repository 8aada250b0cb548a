"""The whole state of an unfinished run in one file. A resumed run ends with the same bits as an uninterrupted one."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inat.errors import ExternalError, UserError
from keras_inat.files import hold_lock, remove_temporary_files, write_atomically
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.predictions import DAMAGED
from keras_inat.store.runs import RunFolder, create_run, find_unfinished, hash_teacher, hash_weights, restart_run


@dataclass
class Progress:
    """The progress of a run, updated every epoch."""

    data_hash: str  # hash of the images
    weights_hash: str = ""  # hash of the file of initial weights
    teacher_hash: str = ""  # hash of the teacher's model file
    precision: str = ""  # precision policy; a resumed run keeps it, also on another device
    stage: int = 0  # index of the present stage
    epoch: int = 0  # epochs done, counted over all stages
    stage_ended: bool = False  # true if the present stage is over
    best_score: float = -1.0  # best score on the validation images; see `training.objective`
    best_epoch: int = 0  # the epoch that reached it
    best_accuracy: float = 0.0  # its validation accuracy
    best_balanced_accuracy: float = 0.0  # its balanced validation accuracy
    epochs_since_best: int = 0  # epochs since then in the present stage
    seconds: float = 0.0  # training time

    def has_same_origin(self, other: "Progress") -> bool:
        """Returns True if both began with the same images, the same initial weights and the same teacher."""
        origin = ("data_hash", "weights_hash", "teacher_hash")
        return all(getattr(self, name) == getattr(other, name) for name in origin)


def write_checkpoint(
    run: RunFolder,
    progress: Progress,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    best_weights: list[np.ndarray],
) -> None:
    """Writes the checkpoint of a training model atomically.

    `best_weights` are weights of the evaluation model that `best.keras` does not have yet; otherwise it is empty.
    """
    arrays: dict[str, Any] = {"progress": json.dumps(asdict(progress))}
    for group, values in (("model", model.variables), ("optimizer", optimizer.variables), ("best", best_weights)):
        for index, value in enumerate(values):
            arrays[f"{group}/{index}"] = keras.ops.convert_to_numpy(value)
    with write_atomically(run.checkpoint) as path, open(path, "wb") as file:
        np.savez(file, **arrays)


def read_progress(run: RunFolder) -> Progress | None:
    """Reads the progress of an unfinished run. Returns None if there is no checkpoint, or a damaged one."""
    try:
        with open(run.checkpoint, "rb") as file, np.load(file) as saved:
            if damaged := saved.zip.testzip():
                raise ValueError(damaged)
            return Progress(**json.loads(str(saved["progress"])))
    except FileNotFoundError:
        return None
    except DAMAGED:
        warn(f"{run.checkpoint} is damaged and skipped")
        return None


def _begin(config: Config, data_hash: str) -> Progress:
    """Returns the progress of a run before its first epoch."""
    return Progress(data_hash, hash_weights(config), hash_teacher(config))


def resume_progress(config: Config, run: RunFolder, data_hash: str) -> Progress:
    """Returns the progress that a run resumes from, and removes the epochs that were written after its checkpoint."""
    fresh = _begin(config, data_hash)
    progress = read_progress(run) or fresh
    if not progress.has_same_origin(fresh):
        raise ExternalError(
            f"the images, the initial weights or the teacher of {run.path} have changed since it began: restore them, "
            "or remove this folder to train anew"
        )
    run.truncate_epochs(progress.epoch)
    return progress


@contextlib.contextmanager
def claim_run(config: Config, command: str, data_hash: str) -> Iterator[RunFolder]:
    """Yields the interrupted run with these settings and images, or a new one, and locks it against other processes."""
    directory = Path(config.run.directory)
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Only one process at a time searches for a run or creates one, so that no run is claimed twice.
        with hold_lock(directory / f".{command}.lock"):
            run = _claim_unfinished(config, command, data_hash, stack)
            if run is None:
                run = create_run(config, command, f"{config.run.name}-seed{config.run.seed}")
                stack.enter_context(hold_lock(run.lock))
        yield run


def _claim_unfinished(config: Config, command: str, data_hash: str, stack: contextlib.ExitStack) -> RunFolder | None:
    """Locks the run with the most epochs among the unfinished ones that no other process trains."""
    fresh = _begin(config, data_hash)
    found = [(read_progress(run) or fresh, run) for run in find_unfinished(config, command)]
    for progress, run in sorted(found, key=lambda pair: pair[0].epoch, reverse=True):
        if not progress.has_same_origin(fresh):
            continue
        try:
            stack.enter_context(hold_lock(run.lock, "busy"))
        except UserError:
            print(f"{run.path} is being trained by another process: this one trains a separate run", flush=True)
            continue
        if not run.result.exists():  # it may have finished after it was listed
            if not (read_progress(run) or fresh).epoch:  # it may have grown before it was locked
                restart_run(config, run.path, command)
            remove_temporary_files(run.path)
            return run
    return None


def read_best_weights(run: RunFolder) -> list[np.ndarray]:
    """Returns the best weights in the checkpoint; empty if `best.keras` has them."""
    with np.load(run.checkpoint) as saved:
        return [saved[name] for name in saved.files if name.startswith("best/")]


def restore_variables(run: RunFolder, group: str, variables: list[Any]) -> None:
    """Restores the variables of the group "model", which has random number generators, or "optimizer"."""
    with np.load(run.checkpoint) as saved:
        try:
            for index, variable in enumerate(variables):
                variable.assign(saved[f"{group}/{index}"])
        except (KeyError, ValueError):  # another version of Keras or of this program has other variables
            raise ExternalError(
                f"{run.checkpoint} does not fit this version: remove {run.path} to train anew"
            ) from None
