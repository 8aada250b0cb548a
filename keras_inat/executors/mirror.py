"""The run folder of a task on another machine, mirrored to the machine that holds the records."""

import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keras_inat.errors import ExternalError
from keras_inat.files import TEMPORARY_PREFIX, file_size, write_atomically
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder

CHECKPOINT_SECONDS = 60  # between two transfers of a checkpoint


class Change(NamedTuple):
    """New content of a file in a run folder."""

    name: str  # path in the folder, with slashes
    data: bytes  # compressed
    appends: bool = False  # True if the content follows the present content


class Mirror:
    """Finds the changes in the run folder of a task. The checkpoint is sent seldom, the other files as they grow."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._log_size = 0
        self._metrics_stamp = _stamp(run.metrics)
        self._checkpoint_stamp = _stamp(run.checkpoint)
        self._checkpoint_sent = -float(CHECKPOINT_SECONDS)

    def collect(self, is_complete: bool = False) -> list[Change]:
        """Returns the changes since the last call: the log, the epochs and, at most once a minute, the checkpoint.

        The checkpoint of a complete training does not wait.
        """
        run = self._run
        changes = self._collect_checkpoint(0 if is_complete else CHECKPOINT_SECONDS)
        if self._metrics_stamp != (stamp := _stamp(run.metrics)):
            self._metrics_stamp = stamp
            changes.append(_read(run.path, run.metrics))
        if file_size(run.log) > self._log_size:
            with open(run.log, "rb") as file:
                file.seek(self._log_size)
                content = file.read()
            self._log_size += len(content)
            changes.append(Change(run.log.name, zlib.compress(content, 1), appends=True))
        return changes

    def collect_all(self) -> list[Change]:
        """Returns the last changes of a run that has ended, with every other file.

        A finished run has no checkpoint, except for a pruned trial, which may resume.
        """
        run = self._run
        finished = run.result.exists()
        is_over = _is_over(run)
        changes = [] if is_over else self._collect_checkpoint(0)
        changes += self.collect()
        sent = {run.checkpoint, run.metrics, run.log, run.lock, run.config}
        others = [path for path in sorted(run.path.rglob("*")) if path.is_file() and path not in sent]
        if is_over:
            changes = [change for change in changes if change.name != run.checkpoint.name]
        if finished:
            # The result marks the run as finished. It comes last.
            others.sort(key=lambda path: path == run.result)
        else:  # an evaluation that was interrupted is not repeated
            others = [path for path in others if path in (run.duplicates, run.predictions)]
        return changes + [_read(run.path, path) for path in others if not path.name.startswith(TEMPORARY_PREFIX)]

    def _collect_checkpoint(self, seconds: float) -> list[Change]:
        """Returns the checkpoint if it has changed, with `best.keras`, after a pause."""
        run = self._run
        if time.monotonic() - self._checkpoint_sent < seconds:
            return []
        while self._checkpoint_stamp != (stamp := _stamp(run.checkpoint)):
            best_stamp = _stamp(run.model)
            files = [_read(run.path, path) for path in (run.model, run.checkpoint) if path.exists()]
            # A newer model would not belong to the checkpoint. A checkpoint that is newer than the model contains it.
            if best_stamp == _stamp(run.model):
                self._checkpoint_stamp = stamp
                self._checkpoint_sent = time.monotonic()
                return files
        return []


def read_start(run: RunFolder) -> list[Change]:
    """Returns the files that a run resumes from on another machine."""
    files = (run.metrics, run.model, run.checkpoint, run.duplicates, run.predictions, run.result)
    return [_read(run.path, path) for path in files if path.exists()]


def apply_changes(run: RunFolder, changes: Sequence[Change]) -> None:
    """Writes changes into a run folder, each file as a whole or not at all. A finished run loses its checkpoint."""
    for change in changes:
        path = run.path / change.name
        if not path.resolve().is_relative_to(run.path.resolve()):
            raise ExternalError(f"a worker of the cluster sent a file outside the folder of its run: {change.name!r}")
        content = zlib.decompress(change.data)
        if change.appends:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab") as file:
                file.write(content)
        else:
            with write_atomically(path) as temporary:
                temporary.write_bytes(content)
    if run.result.name in [change.name for change in changes] and _is_over(run):
        run.checkpoint.unlink(missing_ok=True)


def _is_over(run: RunFolder) -> bool:
    """Returns True if a run has a result and cannot resume."""
    result = Result.read_if_sound(run.result)
    return result is not None and not result.pruned


def _stamp(path: Path) -> tuple[int, int] | None:
    """Returns what changes whenever a file is replaced or grows; None if there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(folder: Path, path: Path) -> Change:
    # The smallest level: weights hardly become smaller with a higher one.
    return Change(path.relative_to(folder).as_posix(), zlib.compress(path.read_bytes(), 1))
