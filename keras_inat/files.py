"""Files that appear whole or not at all, locks, and lines that a kill cannot spoil."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError

PART = ".part-"  # begins the name of a file that is being written


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on success syncs it and renames it to `path`, otherwise removes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PART, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Removes what a process that was killed in `write_whole` left in a folder."""
    for part in folder.glob(f"{PART}*"):
        part.unlink()


@contextlib.contextmanager
def hold_lock(path: Path, busy: str | None = None) -> Iterator[None]:
    """Holds an advisory lock, which the system gives back when a process dies.

    Args:
        path: A file to lock; it is made, and stays.
        busy: What to tell the user when another process holds it; None waits until it does not.

    Raises:
        UserError: When it is held and `busy` is given.
    """
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise UserError(str(busy)) from None
        yield


def make_printable(name: str) -> str:
    """A file's name, with escapes for what is no text."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def write_text(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees the old file or the new one, never a part."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Writes `values` as indented JSON, whole or not at all."""
    # ASCII: a file name on disk need not be valid text in any encoding.
    write_text(path, json.dumps(values, indent=2) + "\n")


def append_jsonl(path: Path, values: Mapping[str, Any]) -> None:
    """Adds one line, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line that was cut short would take this one with it
                file.write(b"\n")
        file.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Reads the whole lines of a `.jsonl` file; a missing file is empty, a line cut short by a kill is skipped."""
    rows = []
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return rows


def fits(values: Any, kinds: Mapping[str, Any]) -> bool:
    """Whether what was read from a file has every key of `kinds`, with a value of that type, or that fits in turn."""
    return isinstance(values, dict) and all(
        name in values and (fits(values[name], kind) if isinstance(kind, dict) else isinstance(values[name], kind))
        for name, kind in kinds.items()
    )
