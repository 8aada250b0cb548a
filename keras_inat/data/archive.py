"""Reading of the files in a folder or a zip archive. A malicious archive is refused before anything is read from it.

Decoding workers import this module when they start, so it imports little.
"""

import errno
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from keras_inat.errors import UserError

try:
    from lzma import LZMAError
except ImportError:  # A Python that was built without lzma refuses such members with a clear error.
    LZMAError = zlib.error  # type: ignore

# `zipfile` raises these for a damaged member; a RuntimeError for an encrypted one or an unknown compression.
DAMAGED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, RuntimeError)
MAX_MEMBER_BYTES = 512 << 20
# Photographs are already compressed. An archive that grows by this factor and to this size is a zip bomb.
MAX_GROWTH = 100
BOMB_BYTES = 1 << 30
LOCAL_HEADER_BYTES = 30


class Reader:
    """Reads the files of a folder or zip archive by their path in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = None if path.is_dir() else open_archive(path)

    def read(self, path: str) -> bytes:
        """Reads one file. Safe to call from several threads.

        Raises:
            ValueError: The file cannot be read. The message follows "it", such as "is a broken link".
        """
        try:
            return _read_member(self.archive, path) if self.archive else _read_file(self.path / path)
        except PermissionError:
            raise ValueError("may not be read") from None
        except DAMAGED as error:
            raise ValueError(f"cannot be read from the archive ({error})") from None


def _read_member(archive: zipfile.ZipFile, path: str) -> bytes:
    try:
        with archive.open(path) as file:
            content = file.read(MAX_MEMBER_BYTES + 1)  # A member may hold more than it declares.
    except OSError as error:
        # bz2 raises an OSError without a number, or EINVAL, for damaged data. Other errors come from the disk.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise zipfile.BadZipFile(str(error)) from None
    if len(content) > MAX_MEMBER_BYTES:
        raise ValueError("is too large for an image")
    return content


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        raise ValueError("is a broken link" if path.is_symlink() else "is gone") from None
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("is a folder: images must be directly in their class folder")
    if not stat.S_ISREG(status.st_mode):  # Reading a pipe would never end.
        raise ValueError("is not a file")
    if status.st_size > MAX_MEMBER_BYTES:
        raise ValueError(f"is too large for an image ({status.st_size >> 20} MiB)")
    return path.read_bytes()


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive. Raises a UserError if it is damaged, or if unpacking it would not be safe."""
    try:
        archive = zipfile.ZipFile(path)
    except (*DAMAGED, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a zip archive: {error}") from None
    for member, fault in _find_faults(archive, path.stat().st_size):
        archive.close()
        raise UserError(f"{path} is refused: its member {member.filename!r} {fault}")
    return archive


def _find_faults(archive: zipfile.ZipFile, num_bytes: int) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Yields members that would write outside the folder, overwrite files, fill the disk or ask for a password."""
    members = archive.infolist()
    names = set[str]()
    folders = dict[str, zipfile.ZipInfo]()
    for member in members:
        name = member.filename.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if fault := _find_fault(member, name, parts):
            yield member, fault
        elif not member.is_dir():
            if "/".join(parts) in names:
                yield member, "has the same path as another member"
            names.add("/".join(parts))
            folders.update(("/".join(parts[:depth]), member) for depth in range(1, len(parts)))
    for name in sorted(names & folders.keys()):
        yield folders[name], "lies in a folder with the path of another member"
    end = archive.start_dir  # The table of contents begins here.
    for member in sorted(members, key=lambda member: member.header_offset, reverse=True):
        if member.header_offset + LOCAL_HEADER_BYTES + member.compress_size > end:
            yield member, "overlaps another member or the table of contents"
        end = member.header_offset
    total = sum(member.file_size for member in members)
    if total > max(BOMB_BYTES, MAX_GROWTH * num_bytes):
        declared = f"declare {total / 2**30:.1f} GiB in an archive of {num_bytes / 2**20:.1f} MiB"
        yield max(members, key=lambda member: member.file_size), f"is the largest of members that {declared}"


def _find_fault(member: zipfile.ZipInfo, name: str, parts: list[str]) -> str:
    if not name:
        return "has no name"
    if name.startswith("/") or re.match("[A-Za-z]:/", name):
        return "is an absolute path"
    if ".." in parts:
        return "has a path that leaves the target folder"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or another special file"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > MAX_MEMBER_BYTES:
        return f"declares {member.file_size / 2**20:.0f} MiB; the limit is {MAX_MEMBER_BYTES >> 20} MiB"
    return ""
