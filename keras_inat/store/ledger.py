"""The test ledger: every evaluation on the test images is recorded before it happens."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from keras_inat.files import append_jsonl, read_jsonl
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.provenance import now, read_commit
from keras_inat.store.records import Stored
from keras_inat.store.runs import EVALUATING_COMMANDS, RunFolder

# The command of an evaluation of labeled images that the user named, which need not be the test images.
NAMED_IMAGES = "evaluate"
Images = TypeVar("Images")
# Records an evaluation on the images with a hash, and returns once the entry is on disk.
Record = Callable[[str], None]


class LedgerEntry(Stored):
    """One evaluation on the test images, or on a folder of labeled images that the user named."""

    time: str  # UTC, ISO 8601
    command: str  # the command that evaluated
    run: str  # path of the run folder
    data: str  # hash of the images
    commit: str | None  # of the program; None outside a git checkout


def read_ledger(directory: str | Path) -> list[LedgerEntry]:
    """Returns the evaluations on the test images, oldest first. Damaged lines are skipped with a warning."""
    path = ledger_path(directory)
    lines = read_jsonl(path)
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError):
            entries.append(LedgerEntry.model_validate(line))
    if len(entries) < len(lines):
        warn(f"damaged lines of {path} are skipped")
    return entries


def ledger_path(directory: str | Path) -> Path:
    """Returns the path of the ledger in the folder of all runs."""
    return Path(directory) / "test_ledger.jsonl"


def open_test_images(
    config: Config, run: RunFolder, data_hash: str, read: Callable[[], Images], record: Record | None = None
) -> Images:
    """Writes the ledger, then reads the test images. There is no other way to them.

    `read` opens the images. It is called only after the entry is on disk. `record` writes the entry where another
    process, or another machine, holds the ledger.

    Raises:
        PermissionError: The run belongs to a command that selects by its results, such as a sweep.
    """
    if run.command not in EVALUATING_COMMANDS:
        raise PermissionError(
            f"the test images are for the final evaluation of {' and '.join(EVALUATING_COMMANDS)}. "
            f"Received: a run of '{run.command}' ({run.path})."
        )
    if record:
        record(data_hash)
    else:
        record_evaluation(config.run.directory, run.command, run.path, data_hash)
    return read()


def record_evaluation(directory: str | Path, command: str, run: Path, data_hash: str) -> None:
    """Appends an evaluation to the ledger in the folder of all runs."""
    entry = LedgerEntry(time=now(), command=command, run=str(run), data=data_hash, commit=read_commit())
    append_jsonl(ledger_path(directory), entry.model_dump())
