"""The whole state of an unfinished run in one file, from which it goes on as if it had not been interrupted."""

import contextlib
import json
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inat.errors import ExternalError, UserError
from keras_inat.files import hold_lock, remove_temporary_files, write_atomically
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, create_run, find_unfinished, hash_weights, lock_path, restart_run

# What reading a damaged file may raise.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        data: Hash of its images.
        weights: Hash of the file of weights that it began with.
        precision: What it computes in, also when it goes on on another device.
        stage: Index of the stage at work.
        epoch: Epochs done, counted over all stages.
        ended: Whether that stage is over.
        best: Best validation accuracy so far.
        best_epoch: When it was.
        waiting: Epochs since then.
        stalled: The same, since the rate was last lowered on a plateau.
        seconds: Spent so far.
    """

    data: str
    weights: str = ""
    precision: str = ""
    stage: int = 0
    epoch: int = 0
    ended: bool = False
    best: float = -1.0
    best_epoch: int = 0
    waiting: int = 0
    stalled: int = 0
    seconds: float = 0.0


def write_checkpoint(
    run: RunFolder,
    progress: Progress,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    best: list[np.ndarray],
) -> None:
    """Writes all of it, whole or not at all: `best` are weights to keep that may not be on the disk yet."""
    states: dict[str, Any] = {"progress": json.dumps(asdict(progress))}
    for group, values in (("model", model.variables), ("optimizer", optimizer.variables), ("best", best)):
        states |= _list_arrays(group, values)
    with write_atomically(run.checkpoint) as path, open(path, "wb") as file:
        np.savez(file, **states)


def read_progress(run: RunFolder) -> Progress | None:
    """How far an unfinished run is; None where nothing is to go on from."""
    try:
        with open(run.checkpoint, "rb") as file, np.load(file) as saved:
            if damaged := saved.zip.testzip():
                raise ValueError(damaged)
            return Progress(**json.loads(str(saved["progress"])))
    except FileNotFoundError:
        return None
    except DAMAGED:
        print(f"warning: {run.checkpoint} is damaged and left out", file=sys.stderr)
        return None


@contextlib.contextmanager
def claim_run(config: Config, command: str, data_hash: str, name: str | None = None) -> Iterator[RunFolder]:
    """The interrupted run with these settings on these images, or a new one; no other process works on it meanwhile."""
    with contextlib.ExitStack() as stack:
        Path(config.run.directory).mkdir(parents=True, exist_ok=True)
        # Who looks for a run, or makes one, does so alone: none is claimed twice, none that was just finished.
        with hold_lock(lock_path(config, command)):
            claimed = _claim_furthest(config, command, data_hash, stack)
            if claimed is None:
                claimed = create_run(config, command, name)
                stack.enter_context(hold_lock(claimed.lock))
        yield claimed


def _claim_furthest(config: Config, command: str, data_hash: str, stack: contextlib.ExitStack) -> RunFolder | None:
    """Locks the run that is furthest of those that no process works on."""
    best: tuple[int, RunFolder, contextlib.ExitStack] | None = None
    fresh = Progress(data_hash, hash_weights(config))
    for run in find_unfinished(config, command):
        with contextlib.ExitStack() as attempt:
            try:
                attempt.enter_context(hold_lock(run.lock, "at work"))
            except UserError:  # so that it is not interrupted
                print(f"{run.path} is at work in another process: this one trains apart from it", flush=True)
                continue
            if run.result.exists():  # finished since it was listed
                continue
            progress = read_progress(run) or fresh
            same = (progress.data, progress.weights) == (fresh.data, fresh.weights)
            if same and (best is None or progress.epoch > best[0]):
                if best:
                    best[2].close()
                best = progress.epoch, run, attempt.pop_all()
    if best is None:
        return None
    epoch, run, attempt = best
    stack.push(attempt)
    if not epoch:
        restart_run(config, run.path, command)
    remove_temporary_files(run.path)
    return run


def read_best(run: RunFolder) -> list[np.ndarray]:
    """The weights to keep that came with the checkpoint; none where they are on the disk for longer."""
    with np.load(run.checkpoint) as saved:
        return [saved[name] for name in saved.files if name.startswith("best/")]


def restore_model(run: RunFolder, model: keras.Model) -> None:
    """Gives a model its weights and the state of its random numbers back."""
    _restore(run, "model", model.variables)


def restore_optimizer(run: RunFolder, optimizer: keras.optimizers.Optimizer) -> None:
    """Gives a built optimizer its state back: step, moments, running average, scale of the loss."""
    _restore(run, "optimizer", optimizer.variables)


def _restore(run: RunFolder, group: str, variables: list[Any]) -> None:
    with np.load(run.checkpoint) as saved:
        try:
            for index, variable in enumerate(variables):
                variable.assign(saved[f"{group}/{index}"])
        except (KeyError, ValueError):  # another version of Keras or of this program has other variables
            raise ExternalError(
                f"{run.checkpoint} does not fit this version: remove {run.path} to train anew"
            ) from None


def _list_arrays(group: str, values: list[Any]) -> dict[str, np.ndarray]:
    return {f"{group}/{index}": keras.ops.convert_to_numpy(value) for index, value in enumerate(values)}
