"""The whole state of an unfinished run in one file, from which it goes on as if it had not been interrupted."""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from keras_inat.errors import UserError
from keras_inat.runs import RunFolder, create_run, find_unfinished, hold_lock, open_run, write_whole
from keras_inat.sections import Config

# What reading a damaged file may raise.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError)


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        data: Hash of its images.
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
    stage: int = 0
    epoch: int = 0
    ended: bool = False
    best: float = -1.0
    best_epoch: int = 0
    waiting: int = 0
    stalled: int = 0
    seconds: float = 0.0


def write_checkpoint(run: RunFolder, progress: Progress, model: keras.Model, best: list[np.ndarray]) -> None:
    """Writes all of it, whole or not at all: `best` are weights to keep that may not be on the disk yet."""
    states: dict[str, Any] = {"progress": json.dumps(asdict(progress))}
    for group, values in (("model", model.variables), ("optimizer", model.optimizer.variables), ("best", best)):
        states |= _list_arrays(group, values)
    with write_whole(run.checkpoint) as path, open(path, "wb") as file:
        np.savez(file, **states)


def read_progress(run: RunFolder) -> Progress | None:
    """How far an unfinished run is; None where nothing is to go on from."""
    try:
        with np.load(run.checkpoint) as saved:
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
        for run in find_unfinished(config, command):
            if _try_lock(run, stack):
                progress = read_progress(run)
                if progress is None:
                    open_run(config, run.path, command)
                if progress is None or progress.data == data_hash:
                    break
        else:
            run = create_run(config, command, name)
            stack.enter_context(hold_lock(run.lock))
        yield run


def _try_lock(run: RunFolder, stack: contextlib.ExitStack) -> bool:
    try:
        stack.enter_context(hold_lock(run.lock, "at work"))
    except UserError:  # another process has it, so that it is not interrupted
        return False
    return True


def read_best(run: RunFolder) -> list[np.ndarray]:
    """The weights to keep that came with the checkpoint; none where they are on the disk for longer."""
    with np.load(run.checkpoint) as saved:
        return [saved[name] for name in saved.files if name.startswith("best/")]


def restore_model(run: RunFolder, model: keras.Model) -> None:
    """Gives a model its weights and the state of its random numbers back."""
    _restore(run, "model", model.variables)


def restore_optimizer(run: RunFolder, model: keras.Model) -> None:
    """Gives a compiled model the state of its optimizer back: step, moments, running average, scale of the loss."""
    model.optimizer.build(model.trainable_variables)
    _restore(run, "optimizer", model.optimizer.variables)


def _restore(run: RunFolder, group: str, variables: list[Any]) -> None:
    with np.load(run.checkpoint) as saved:
        for index, variable in enumerate(variables):
            variable.assign(saved[f"{group}/{index}"])


def _list_arrays(group: str, values: list[Any]) -> dict[str, np.ndarray]:
    return {f"{group}/{index}": keras.ops.convert_to_numpy(value) for index, value in enumerate(values)}
