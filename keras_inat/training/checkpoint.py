"""The whole state of an unfinished run in one file. A resumed run ends with the same bits as an uninterrupted one."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import pydantic

from keras_inat.errors import ExternalError
from keras_inat.files import hold_lock, remove_temporary_files, write_atomically
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.checksums import WRONG, add_checksum, parse_record
from keras_inat.store.predictions import DAMAGED, open_arrays
from keras_inat.store.records import Count, Epoch, Fraction, NonNegative, Stored
from keras_inat.store.runs import (
    RunFolder,
    create_run,
    find_finished,
    find_unfinished,
    hash_settings,
    hash_teacher,
    hash_weights,
    list_unfinished,
    restart_run,
)


class Progress(Stored):
    """The progress of a run, updated every epoch."""

    model_config = pydantic.ConfigDict(frozen=False)

    settings_hash: str  # hash of the settings that decide the outcome
    data_hash: str  # hash of the images
    weights_hash: str = ""  # hash of the file of initial weights
    teacher_hash: str = ""  # hash of the teacher's model file
    precision: str = ""  # precision policy; a resumed run keeps it, also on another device
    stage: Count = 0  # index of the present stage
    epoch: Count = 0  # epochs done, counted over all stages
    stage_ended: bool = False  # true if the present stage is over
    # Best score on the validation images, see `training.objective`; -1 before the first epoch.
    best_score: Annotated[float, pydantic.Field(ge=-1, le=1)] = -1.0
    best_epoch: Count = 0  # the epoch that reached it
    best_accuracy: Fraction = 0.0  # its validation accuracy
    best_balanced_accuracy: Fraction = 0.0  # its balanced validation accuracy
    best_weights: str = ""  # hash of its weights, if they are kept
    epochs_since_best: Count = 0  # epochs since then in the present stage
    seconds: NonNegative = 0.0  # training time
    # The epochs done. `metrics.jsonl` may have one more, or be damaged.
    epochs: list[Epoch] = pydantic.Field(default_factory=list)

    def has_same_origin(self, other: "Progress") -> bool:
        """Returns True if both have the same settings, images, initial weights and teacher."""
        origin = ("settings_hash", "data_hash", "weights_hash", "teacher_hash")
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
    arrays: dict[str, Any] = {"progress": json.dumps(add_checksum(progress.model_dump()))}
    for group, values in (("model", model.variables), ("optimizer", optimizer.variables), ("best", best_weights)):
        for index, value in enumerate(values):
            arrays[f"{group}/{index}"] = keras.ops.convert_to_numpy(value)
    with write_atomically(run.checkpoint) as path, open(path, "wb") as file:
        np.savez(file, **arrays)


def read_progress(run: RunFolder) -> Progress | None:
    """Reads the progress of an unfinished run. Returns None if there is no checkpoint, or a damaged one."""
    try:
        with open_arrays(run.checkpoint) as saved:
            return Progress.model_validate(parse_record(str(saved["progress"])))
    except FileNotFoundError:
        return None
    except DAMAGED:
        warn(f"{run.checkpoint} {WRONG}, and is skipped")
        return None


def _begin(config: Config, data_hash: str) -> Progress:
    """Returns the progress of a run before its first epoch."""
    return Progress(
        settings_hash=hash_settings(config),
        data_hash=data_hash,
        weights_hash=hash_weights(config),
        teacher_hash=hash_teacher(config),
    )


def resume_progress(config: Config, run: RunFolder, data_hash: str) -> Progress:
    """Returns the progress that a run resumes from, and restores its epochs on disk."""
    fresh = _begin(config, data_hash)
    progress = read_progress(run) or fresh
    if not progress.has_same_origin(fresh):
        raise ExternalError(
            f"the settings, the images, the initial weights or the teacher of {run.path} have changed since it began: "
            "restore them, or remove this folder to train anew"
        )
    run.write_epochs(progress.epochs)
    return progress


@contextlib.contextmanager
def claim_run(config: Config, command: str, data_hash: str) -> Iterator[RunFolder]:
    """Yields the run with these settings and images, and locks it against other processes.

    It is a finished one, an interrupted one, or a new one.

    Raises:
        UserError: Another process trains this run.
    """
    directory = Path(config.run.directory)
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Only one process at a time searches for a run or creates one, so that no run is claimed twice.
        with hold_lock(directory / f".{command}.lock"):
            # Another process may have finished the run a moment ago.
            run = find_finished(config, command, data_hash) or _claim_unfinished(config, command, data_hash, stack)
            if run is None:
                run = create_run(config, command, f"{config.run.name}-seed{config.run.seed}")
                stack.enter_context(hold_lock(run.lock))
        yield run


def _claim_unfinished(config: Config, command: str, data_hash: str, stack: contextlib.ExitStack) -> RunFolder | None:
    """Locks the run with the most epochs among the unfinished ones."""
    fresh = _begin(config, data_hash)
    found = [(read_progress(run) or fresh, run) for run in find_unfinished(config, command)]
    for progress, run in sorted(found, key=lambda pair: pair[0].epoch, reverse=True):
        if not progress.has_same_origin(fresh):
            warn(
                f"{run.checkpoint} is of other images, initial weights or settings, and is not continued: remove "
                f"{run.path} if you do not need it"
            )
            continue
        # Two trainings with the same settings would both be evaluated on the test images.
        busy = f"{run.path} is being trained by another process: wait until it has ended, or give another NAME"
        stack.enter_context(hold_lock(run.lock, busy))
        if run.result.exists():  # it has finished after it was listed
            run.lock.unlink()
            return run
        if not (read_progress(run) or fresh).epoch:  # it may have grown before it was locked
            restart_run(config, run.path, command)
        remove_temporary_files(run.path)
        return run
    for run in list_unfinished(config.run.directory, command):
        kept = read_progress(run)
        if kept and kept.has_same_origin(fresh):
            warn(f"{run.config} does not belong to {run.checkpoint.name}, and its run is skipped")
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
