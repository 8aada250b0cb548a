"""Atomic writes, locks, free disk space, and JSON lines that survive a killed process."""

import contextlib
import difflib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from keras_inat.errors import FULL_DISK, NOT_REGULAR, ExternalError, UserError, explain_errors
from keras_inat.log import warn

TEMPORARY_PREFIX = ".part-"
# The end of the name of a temporary file or folder names its process: the machine, as another one has processes of its
# own, the process id, and a number that tells processes apart which have had the same id.
OWNER = re.compile(r"-([0-9a-f]{4})-(\d+)-([0-9a-f]{4})(?:\..*)?$")
MACHINE = f"{zlib.crc32(platform.node().encode()) & 0xFFFF:04x}"
START = secrets.token_hex(2)
# Errors of file systems without locks, such as Lustre, and without `fsync`, such as mounts of S3.
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
NO_SYNC = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
MAX_BYTES = 1 << 30  # of a file that is read as a whole: a sparse one could take all memory
MAX_HASHED_BYTES = 1 << 34  # of a model or of arrays: a sparse file could take hours
# A process that waits longer for a lock says so.
NOTICE_SECONDS = 5.0


class InFolder:
    """An attribute that is a path in the owner's folder, `owner.path / name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, owner_type: type | None = None) -> Path:
        return owner.path / self._name


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`. Renames it to `path` on success and removes it on failure.

    Temporary files of processes that have ended are removed.

    Raises:
        FileError: The system refuses. The permissions are those that the umask gives, as many file systems cannot
            change them.
    """
    temporary = _choose_temporary(path, path.suffix)
    with explain_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_once(os.path.abspath(path.parent))
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def write_folder_atomically(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yields a temporary folder beside `path`. On success it replaces `path`, and on failure it is removed.

    Raises:
        FileError: The system refuses, or `path` exists and is not to be replaced.
    """
    temporary = _choose_temporary(path)
    with explain_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_once(os.path.abspath(path.parent))
        try:
            temporary.mkdir()
            yield temporary
            for file in list_files(temporary):
                sync_file(file)
            if replace:
                remove(path)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _choose_temporary(path: Path, suffix: str = "") -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}{name_owner()}{suffix}")


@functools.lru_cache(64)  # the processes whose files are removed ended before this one began
def _remove_once(folder: str) -> None:
    remove_ownerless(Path(folder), TEMPORARY_PREFIX)


def name_owner() -> str:
    """Returns the end of the name of a temporary file or folder of this process; see `remove_ownerless`."""
    return f"-{MACHINE}-{os.getpid()}-{START}"


def remove_ownerless(folder: Path, prefix: str) -> None:
    """Removes the temporary files and folders with a prefix whose process ran on this machine and has ended."""
    with contextlib.suppress(OSError):  # what cannot be listed or removed hinders nobody
        for path in folder.glob(f"{prefix}*"):
            owner = OWNER.search(path.name)
            if owner and owner[1] == MACHINE and not _is_running(int(owner[2]), owner[3]):
                remove(path)


def _is_running(number: int, start: str) -> bool:
    if number == os.getpid():
        return start == START
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # the process of another user
        return True
    return True


def remove_temporary_files(folder: Path) -> None:
    """Removes all temporary files and folders in `folder`. The caller holds the lock of the folder."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        remove(path)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder, if it exists. Raises an `OSError` if the system refuses."""
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path)
        except RecursionError:
            raise OSError(errno.ELOOP, "too many folders in folders", str(path)) from None
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def hold_lock(path: Path, busy: str | None = None) -> Iterator[None]:
    """Holds an advisory lock on a file, which stays. The system releases the lock when the process ends.

    While another process holds the lock, this waits, or raises a `UserError` with the message `busy` if it is given.
    """
    with explain_errors("lock", path):
        try:
            lock = _acquire(path, busy)
        except RuntimeError:  # this process holds it, as a folder is a link to another one
            raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK), str(path)) from None
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path, busy: str | None) -> filelock.BaseFileLock:
    """Acquires a lock of the system or, if the file system has none, one that is a file with a process id."""
    locks: tuple[filelock.BaseFileLock, ...] = (filelock.FileLock(path), filelock.SoftFileLock(f"{path}.held"))
    for lock in locks:
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # the fallback needs no attention
                lock.acquire(timeout=0 if busy else NOTICE_SECONDS)
            return lock
        except filelock.Timeout:
            # A lock of the system is an empty file. Another one stays after a crash on another machine.
            place = Path(lock.lock_file)
            remedy = f" (if there is none, delete {place})" if file_size(place) else ""
            if busy:
                raise UserError(f"{busy}{remedy}") from None
            warn(f"waiting for another process, which holds {place}{remedy}")
            lock.acquire()
            return lock
        except (OSError, NotImplementedError) as error:
            if lock is locks[-1] or getattr(error, "errno", errno.ENOSYS) not in NO_LOCKS:
                raise
    raise AssertionError


def sync_file(path: Path) -> None:
    """Waits until a file is on disk, if its file system can."""
    with open(path, "rb") as file:
        _sync(file.fileno())


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


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


def check_regular(path: Path) -> int:
    """Returns the size of a file in bytes.

    Raises an `OSError` if there is no file, or a pipe, a device or a folder, which could be read without end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return status.st_size


def read_regular(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Reads a file. Raises an `OSError` as `check_regular` does, and for more bytes than the limit."""
    _check_size(path, limit)
    return path.read_bytes()


def _check_size(path: Path, limit: int) -> None:
    if check_regular(path) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))


def read_text(path: Path) -> str:
    """Reads a UTF-8 text, with the errors of `read_regular`. Bytes that are not UTF-8 become "\ufffd"."""
    return read_regular(path).decode(errors="replace")


def hash_file(path: Path, limit: int = MAX_HASHED_BYTES) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits, with the errors of `read_regular`."""
    _check_size(path, limit)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_cache() -> Path:
    """Returns the folder of the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())


def check_writable(folder: Path) -> None:
    """Makes a folder. Raises an `OSError` if no file can be written there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def list_files(folder: Path) -> list[Path]:
    """Returns the files in a folder and its subfolders, sorted, without hidden files and those in hidden folders.

    Links to folders are not followed. A folder that cannot be listed is skipped with a warning.
    """
    files = []
    waiting = [folder]
    while waiting:
        try:
            entries = [entry for entry in os.scandir(waiting.pop()) if not entry.name.startswith(".")]
        except OSError as error:
            warn(f"skipped the folder {make_printable(str(error.filename)):.300}: {error.strerror}")
            continue
        waiting += [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
        files += [Path(entry) for entry in entries if os.path.isfile(entry)]
    return sorted(files)


def list_folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder, sorted, without hidden ones. Warns about a file where a folder should be."""
    paths = sorted(folder.glob("[!.]*")) if folder.is_dir() else [folder]
    for path in paths:
        if not path.is_dir() and os.path.lexists(path):
            warn(f"{path} is not a folder, and is skipped")
    return [path for path in paths if path != folder and path.is_dir()]


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
    """Writes `text` atomically: a reader sees the old or the new one. Bytes of names that are not text are escaped."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, values: Any) -> None:
    """Writes `values` atomically as indented JSON."""
    # ASCII, because a file name on disk need not be valid text in any encoding.
    write_text(path, json.dumps(values, indent=2) + "\n")


def append_jsonl(path: Path, values: Mapping[str, Any]) -> bytes:
    """Appends `values` as a line of JSON and syncs the file. A failure leaves the file as it was.

    Returns the line without its end.
    """
    line = json.dumps(values).encode()
    with explain_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, line + b"\n")
    return line


def _append(path: Path, line: bytes) -> None:
    with open(path, "a+b", buffering=0) as file:
        size = file.tell()
        if size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a killed process left an incomplete line
                line = b"\n" + line
        try:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, FULL_DISK)
            _sync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def read_lines(path: Path) -> list[bytes]:
    """Returns the lines of a file, and after them what follows the last line break; nothing of a missing file."""
    try:
        return read_regular(path).split(b"\n")
    except FileNotFoundError:
        return [b""]


def read_jsonl(path: Path) -> list[Any]:
    """Reads a `.jsonl` file. A missing file is empty, and an incomplete line is skipped."""
    rows = []
    for line in read_lines(path):
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows
