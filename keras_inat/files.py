"""Atomic writes, locks, free disk space, and JSON lines that survive a killed process."""

import contextlib
import difflib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from keras_inat.errors import ExternalError, UserError

TEMPORARY_PREFIX = ".part-"


class InFolder:
    """An attribute that is a path in the owner's folder, `owner.path / name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, owner_type: type | None = None) -> Path:
        return owner.path / self._name


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`. Renames it to `path` on success and removes it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=path.suffix)
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


def remove_temporary_files(folder: Path) -> None:
    """Removes the temporary files that a killed process left in `folder`."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink()


@contextlib.contextmanager
def hold_lock(path: Path, busy: str | None = None) -> Iterator[None]:
    """Holds an advisory lock on a file, which stays. The system releases the lock when the process ends.

    While another process holds the lock, this waits, or raises a `UserError` with the message `busy` if it is given.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0 if busy else -1)
    except filelock.Timeout:
        raise UserError(str(busy)) from None
    try:
        yield
    finally:
        lock.release()


def check_space(target: Path, needed: int, hint: str) -> None:
    """Raises an error that ends with `hint` if the disk of `target` has less than `needed` bytes free."""
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ExternalError(
            f"{target} needs {needed / 2**30:.2f} GiB more disk space, but only {free / 2**30:.2f} GiB are free: {hint}"
        )


def file_size(path: Path) -> int:
    """Returns the size of a file in bytes, or 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def list_files(folder: Path) -> list[Path]:
    """Returns the files in a folder and its subfolders, sorted, without hidden files and those in hidden folders."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in files if "/." not in f"/{path.relative_to(folder).as_posix()}"]


def suggest_path(path: str | os.PathLike[str]) -> str:
    """Returns the end of an error message about a missing path: the closest one that exists, or nothing.

    A path with the separators of Windows, or with the letter of a disk in WSL, is read as one of this system.
    """
    slashed = re.sub(r"^([A-Za-z]):/", lambda drive: f"/mnt/{drive[1].lower()}/", os.fspath(path).replace("\\", "/"))
    found = Path()
    for part in Path(slashed).parts:
        if not (found / part).exists():
            names: dict[str, str] = {}
            with contextlib.suppress(OSError):
                names = {entry.name.lower(): entry.name for entry in found.iterdir()}
            matches = difflib.get_close_matches(part.lower(), names, n=1)
            if not matches:
                return ""
            part = names[matches[0]]
        found /= part
    return f" Did you mean {str(found)!r}?" if str(found) != os.fspath(path) else ""


def make_printable(name: str) -> str:
    """Returns a file name with escapes in place of unprintable characters."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def write_text(path: Path, text: str) -> None:
    """Writes `text` atomically: a reader sees the old file or the new one."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Writes `values` atomically as indented JSON."""
    # ASCII, because a file name on disk need not be valid text in any encoding.
    write_text(path, json.dumps(values, indent=2) + "\n")


def append_jsonl(path: Path, values: Mapping[str, Any]) -> None:
    """Appends `values` as a line of JSON and syncs the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a killed process left an incomplete line
                file.write(b"\n")
        file.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Reads a `.jsonl` file. A missing file is empty, and an incomplete line is skipped."""
    rows = []
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return rows
