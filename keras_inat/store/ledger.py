"""The test ledger: every evaluation on the test images is recorded before it happens.

Each line has the SHA-256 of the line before, so that a changed or removed line shows. A file of its own has that of the
last line, because no line follows it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from keras_inat.files import append_jsonl, hold_lock, read_lines
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.checksums import add_checksum, hash_bytes, parse_record
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
    run: str  # the run folder, relative to the folder of all runs
    data: str  # hash of the images
    commit: str | None  # of the program; None outside a git checkout
    previous: str  # SHA-256 of the line before; empty for the first line


class LedgerEnd(Stored):
    """The end of the ledger, `.test_ledger_end.json`."""

    num_lines: int = Field(ge=1)
    last: str  # SHA-256 of the last line


@dataclass(frozen=True)
class Ledger:
    """The evaluations on the test images, oldest first."""

    entries: list[LedgerEntry]
    faults: list[str]  # every sign that the file was damaged or changed, each as a clause; empty for a sound ledger


def read_ledger(directory: str | Path, evaluated: Iterable[RunFolder] = ()) -> Ledger:
    """Reads the ledger in the folder of all runs. Warns about each fault.

    Args:
        directory: The folder of all runs.
        evaluated: Runs with a result on the test images. One without an entry is a fault.
    """
    path = ledger_path(directory)
    ledger = _check(path, _read_lines(path), LedgerEnd.read_if_sound(_end_path(path)))
    missing = _list_missing(path, ledger.entries, (run.path for run in evaluated))
    return Ledger(ledger.entries, ledger.faults + missing)


def _list_missing(path: Path, entries: Iterable[LedgerEntry], evaluated: Iterable[Path]) -> list[str]:
    """Returns a fault for each folder of a run that has no entry, and warns about it."""
    known = {entry.run for entry in entries if entry.command in EVALUATING_COMMANDS}
    names = map(_name, evaluated)
    missing = [f"the evaluation of {name} is missing" for name in names if name not in known]
    _warn(path, missing)
    return missing


def _check(path: Path, lines: list[bytes], end: LedgerEnd | None) -> Ledger:
    """Returns the entries in the lines of the ledger. Warns about each fault of the lines."""
    entries, faults = [], []
    previous: str | None = ""  # None after a damaged line, whose own checksum may be the wrong part
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            faults.append(f"line {number} is damaged")
            previous = None
            continue
        if previous not in (None, entry.previous):
            faults.append(f"a line before line {number} was removed or changed")
        entries.append(entry)
        previous = hash_bytes(line)
    if end and not _has_end(lines, end):
        faults.append(f"line {end.num_lines} was removed or changed")
    if _lacks_end(lines, end):
        faults.append(f"lines may be missing at its end, which {_end_path(path).name} should name")
    _warn(path, faults)
    return Ledger(entries, faults)


def _warn(path: Path, faults: Iterable[str]) -> None:
    for fault in faults:
        warn(f"{path}: {fault}")


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
    """Appends an evaluation to the ledger in the folder of all runs.

    The line does not continue a ledger whose end is damaged, so that the damage stays visible. A repeated evaluation,
    because its predictions are lost, has a warning.
    """
    path = ledger_path(directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(path.with_name(".test_ledger.lock")):
        lines = _read_lines(path)
        end = LedgerEnd.read_if_sound(_end_path(path))
        known = _check(path, lines, end).entries
        results = [result for name in EVALUATING_COMMANDS for result in path.parent.glob(f"{name}/[!.]*/result.json")]
        _list_missing(path, known, (result.parent for result in sorted(results)))
        previous = hash_bytes(lines[-1]) if lines and not _lacks_end(lines, end) else ""
        if end and not _has_end(lines, end):
            previous = end.last
        entry = LedgerEntry(
            time=now(),
            command=command,
            run=_name(run),
            data=data_hash,
            commit=read_commit(),
            previous=previous,
        )
        if command in EVALUATING_COMMANDS and (command, entry.run) in [(other.command, other.run) for other in known]:
            lost = RunFolder(run, command).predictions
            warn(f"{lost} is missing, damaged or of other weights: the test images are evaluated again")
        line = append_jsonl(path, add_checksum(entry.model_dump()))
        LedgerEnd(num_lines=len(lines) + 1, last=hash_bytes(line)).write(_end_path(path))


def _read_lines(path: Path) -> list[bytes]:
    """Returns the lines of the ledger, also one without its end."""
    *lines, rest = read_lines(path)
    return [*lines, rest] if rest else lines


def _has_end(lines: list[bytes], end: LedgerEnd) -> bool:
    """Returns True if the known last line exists. A process that was killed in between has written another one."""
    return len(lines) >= end.num_lines and hash_bytes(lines[end.num_lines - 1]) == end.last


def _lacks_end(lines: list[bytes], end: LedgerEnd | None) -> bool:
    """Returns True if the last line should be known. A process may have been killed after it wrote the first one."""
    return end is None and len(lines) > 1


def _parse(line: bytes) -> LedgerEntry | None:
    """Returns the entry of a line; None if the line is damaged."""
    try:
        return LedgerEntry.model_validate(parse_record(line))
    except ValueError:
        return None


def _end_path(path: Path) -> Path:
    return path.with_name(".test_ledger_end.json")


def _name(run: Path) -> str:
    return "/".join(run.absolute().parts[-2:])
