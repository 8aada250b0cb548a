"""Tar and 7z archives, which have no random access: each is copied once into a zip archive beside the packs."""

import contextlib
import errno
import hashlib
import importlib
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from keras_inat.data.archive import (
    BOMB_BYTES,
    MAX_GROWTH,
    SPECIAL,
    find_path_fault,
    find_size_fault,
    open_archive,
)
from keras_inat.errors import ExternalError, UserError, shorten_error
from keras_inat.files import check_regular, check_space, hold_lock, remove, sync_file
from keras_inat.log import warn
from keras_inat.progress import track_progress
from keras_inat.store.checksums import WRONG, hash_bytes

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ZSTANDARD_SUFFIXES = (".tar.zst", ".tzst")
SUFFIXES = (".zip", *TAR_SUFFIXES, *ZSTANDARD_SUFFIXES, ".7z")
# The way on for archives that are not read, by the end of their name.
REFUSED = {
    ".rar": "RAR archives are not read: unpack it, and give the folder",
    ".zip.001": "it is the first of several parts: join them first, with `cat photos.zip.* > photos.zip`",
    ".7z.001": "it is the first of several parts: join them first, with `cat photos.7z.* > photos.7z`",
    ".z01": "it is one of several parts: join them first, with `zip -s 0 photos.zip --out whole.zip`",
    ".gz": "it is a single compressed file: give a folder, or an archive such as .tar.gz",
}
# Modules for Zstandard, each with a function `open`. The first is part of Python 3.14.
ZSTANDARD = ("compression.zstd", "backports.zstd", "zstandard")
PARTIAL = ".part"


def check_suffix(path: Path, accepted: str = "DATA must be a folder, an archive ({}) or 'demo'") -> None:
    """Raises an error if the name of a file is not that of an archive that can be read.

    `accepted` begins the message, with `{}` in place of the suffixes.
    """
    name = path.name.lower()
    for suffix, hint in REFUSED.items():
        if name.endswith(suffix) and not name.endswith(SUFFIXES):
            raise ExternalError(f"{path} cannot be used: {hint}")
    if not name.endswith(SUFFIXES):
        raise ExternalError(f"{accepted.format(', '.join(SUFFIXES))}. Received: {str(path)!r}.")


def remove_suffix(name: str) -> str:
    """Returns the name of an archive without `.zip`, `.tar.gz` and the like."""
    suffixes = [suffix for suffix in SUFFIXES if name.lower().endswith(suffix)]
    return name[: -len(max(suffixes, key=len))] if suffixes else name


def find_converted(path: Path, packs: Path) -> Path:
    """Returns the path of the zip archive that `convert` makes of an archive: itself if it is a zip archive.

    The name depends on the path, the size and the time of the last change of the archive.
    """
    if path.name.lower().endswith(".zip"):
        return path
    status = path.stat()
    key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape")
    return packs / f"{remove_suffix(path.name).lstrip('.')}-{hashlib.sha256(key).hexdigest()[:12]}.zip"


def convert(path: Path, packs: Path) -> Path:
    """Copies the files of an archive into an uncompressed zip archive in `packs`, once, and returns its path.

    The copy appears when it is complete, and is safe to delete. A damaged one is made anew. A zip archive is returned
    as it is.

    Raises:
        UserError: The archive is damaged or malicious, a library for it is missing, or the disk is too small.
    """
    target = find_converted(path, packs)
    if target == path or _read_origin(target) == path.resolve():
        return target
    packs.mkdir(parents=True, exist_ok=True)
    with hold_lock(_lock(target)):
        if _read_origin(target) != path.resolve():
            if os.path.lexists(target):
                warn(f"{target} {WRONG}, and is made anew")
                remove(target)
            check_space(target, path.stat().st_size, "free some space, or set `data.directory` to another disk")
            temporary = _partial(target)
            remove(temporary)  # what is there may be a pipe
            try:
                _copy(path, temporary)
                sync_file(temporary)
                temporary.rename(target)
            finally:
                temporary.unlink(missing_ok=True)
    return target


def remove_copy(copy: Path) -> None:
    """Removes the copy of an archive, and its lock."""
    copy.unlink()
    _lock(copy).unlink(missing_ok=True)


def remove_damaged_copy(copy: Path) -> bool:
    """Removes the copy of an archive, with a warning, if a file in it is damaged. Returns True if it was removed."""
    try:
        with zipfile.ZipFile(copy) as archive:
            is_sound = archive.testzip() is None
    except Exception:  # as in `_read_origin`
        is_sound = False
    if not is_sound:
        warn(f"{copy} {WRONG}, and is made anew")
        remove_copy(copy)
    return not is_sound


def remove_stale_copies(packs: Path) -> list[tuple[str, int]]:
    """Removes the copies whose archives have changed or are gone, and unfinished ones. Returns names and sizes."""
    removed = []
    found = (*packs.glob("*.zip"), *packs.glob(f"*.zip{PARTIAL}"))
    targets = {path.with_name(path.name.removeprefix(".").removesuffix(PARTIAL)) for path in found}
    for target in sorted(targets):
        with contextlib.suppress(UserError), hold_lock(_lock(target), "another process copies it"):
            for copy in (target, _partial(target)):
                if copy.exists() and not _is_current(copy):
                    removed.append((copy.name, copy.stat().st_size))
                    copy.unlink()
    return removed


def _is_current(copy: Path) -> bool:
    origin = _read_origin(copy)
    with contextlib.suppress(OSError):  # the archive is gone
        return origin is not None and find_converted(origin, copy.parent) == copy
    return False


def _read_origin(copy: Path) -> Path | None:
    """Returns the archive that a copy was made of; None unless it has the table of contents that it was made with.

    The table has a checksum of each file.
    """
    try:
        check_regular(copy)
        with zipfile.ZipFile(copy) as archive:
            origin, _, digest = archive.comment.rpartition(b"\0")
            return Path(os.fsdecode(origin)) if digest == _hash_contents(archive) else None
    except Exception:  # `zipfile` raises many classes for a damaged archive
        return None


def _hash_contents(archive: zipfile.ZipFile) -> bytes:
    members = [(member.filename, member.CRC, member.file_size, member.header_offset) for member in archive.infolist()]
    return hash_bytes(repr(members).encode("utf-8", "surrogateescape")).encode()


def _lock(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}{PARTIAL}")


class _Guard:
    """Refuses the members of an archive that unpacking it would not be safe with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_bytes = path.stat().st_size
        self._seen: set[str] = set()
        self._total = 0

    def check(self, name: str, num_bytes: int, fault: str) -> None:
        """Raises a `UserError` with `fault`, if there is one, or with a fault of the path or of the size."""
        self._total += num_bytes
        fault = fault or find_path_fault(name) or find_size_fault(num_bytes)
        if not fault and name in self._seen:
            fault = "has the same path as another member"
        if not fault and self._total > max(BOMB_BYTES, MAX_GROWTH * self._num_bytes):
            declared = f"{self._total / 2**30:.1f} GiB in an archive of {self._num_bytes / 2**20:.1f} MiB"
            fault = f"is one of members that declare {declared}"
        if fault:
            raise UserError(f"{self._path} is refused: its member {name!r} {fault}")
        self._seen.add(name)


def _copy(path: Path, target: Path) -> None:
    read = _read_7z if path.name.lower().endswith(".7z") else _read_tar
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive,
        # The number of files in a compressed archive is not known before its end.
        track_progress(f"unpacking {path.name}", 0, "files") as advance,
    ):
        for name, content in read(path, target.with_suffix("")):
            # With the oldest time that a zip archive can hold, the copy of an archive is always the same.
            archive.writestr(zipfile.ZipInfo(name), content)
            advance(1)
        archive.comment = b"\0".join([os.fsencode(path.resolve()), _hash_contents(archive)])
    try:
        open_archive(target).close()  # refuses paths that contradict each other
    except UserError as error:
        raise UserError(str(error).replace(str(target), str(path))) from None


@contextlib.contextmanager
def _explain_damage(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # libraries and decompressors raise many classes for damaged data
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk is to blame
            raise
        raise UserError(f"{path} cannot be read as a {kind} archive: {shorten_error(error)}") from None


def _read_tar(path: Path, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each file in a tar archive, in the order of the archive."""
    guard = _Guard(path)
    # Pax headers beyond Python's limits raise a ReadError, too.
    with _explain_damage(path, "tar"), _open_tar(path) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if member.isdir():
                continue
            guard.check(member.name, member.size, "" if member.isreg() else SPECIAL)
            content = archive.extractfile(member).read()  # type: ignore[union-attr]
            yield member.name, content


def _open_tar(path: Path) -> IO[bytes]:
    if not path.name.lower().endswith(ZSTANDARD_SUFFIXES):
        return open(path, "rb")
    for name in ZSTANDARD:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name).open(path, "rb")
    raise ExternalError(
        f"{path} needs Zstandard: pip install backports.zstd, or unpack it with `tar --zstd -xf` and give the folder"
    )


def _read_7z(path: Path, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each file in a 7z archive, which is unpacked into a temporary folder first."""
    try:
        import py7zr
    except ModuleNotFoundError:
        raise ExternalError(
            f"{path} needs py7zr: pip install py7zr, or unpack it with `7z x` and give the folder"
        ) from None
    guard = _Guard(path)
    with _explain_damage(path, "7z"):
        try:
            with py7zr.SevenZipFile(path) as archive:
                if archive.needs_password():
                    raise py7zr.PasswordRequired([], "")
                files = [member for member in archive.list() if not member.is_directory]
                for member in files:
                    guard.check(member.filename, member.uncompressed, "" if member.is_file else SPECIAL)
                remove(folder)  # left by a killed process
                archive.extractall(folder)
                for member in files:
                    yield member.filename, Path(folder, member.filename).read_bytes()
        except py7zr.PasswordRequired:
            raise UserError(f"{path} is encrypted: unpack it with its password, and give the folder") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
