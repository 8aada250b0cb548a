"""The ledger of looks at the test images: every one is on record before it happens."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from keras_inat.files import append_jsonl, fits, read_jsonl
from keras_inat.settings.schema import Config
from keras_inat.store.runs import EVALUATING_COMMANDS, RunFolder, now, read_commit

LOOK_KINDS: dict[str, Any] = {"time": str, "command": str, "run": str, "data": str, "commit": str | None}
Looked = TypeVar("Looked")


def read_ledger(directory: str | Path) -> list[dict[str, Any]]:
    """The looks at the test images, oldest first; a damaged line is left out with a warning."""
    path = ledger_path(directory)
    lines = read_jsonl(path)
    looks = [line for line in lines if fits(line, LOOK_KINDS)]
    if len(looks) < len(lines):
        print(f"warning: damaged lines of {path} are left out", file=sys.stderr)
    return looks


def ledger_path(directory: str | Path) -> Path:
    """Where looks at the test images are recorded."""
    return Path(directory) / "test_ledger.jsonl"


def open_test_images(config: Config, run: RunFolder, data_hash: str, read: Callable[[], Looked]) -> Looked:
    """The only door to the test images: writes the ledger, then reads.

    Args:
        config: Says where the ledger is.
        run: Who looks. Runs of a sweep, or of anything else that selects, are turned away.
        data_hash: Of the images, so that a line of the ledger says what was seen.
        read: Opens the images; called only once the look is on record.

    Raises:
        PermissionError: When the run's command may not see the test images.
    """
    if run.command not in EVALUATING_COMMANDS:
        raise PermissionError(
            f"the test images are for the final evaluation of {' and '.join(EVALUATING_COMMANDS)}. "
            f"Received: a look by '{run.command}' ({run.path})."
        )
    line = {
        "time": now(),
        "command": run.command,
        "run": str(run.path),
        "data": data_hash,
        "commit": read_commit(),
    }
    append_jsonl(ledger_path(config.run.directory), line)
    return read()
