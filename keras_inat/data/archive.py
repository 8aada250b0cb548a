"""Reading of the files in a folder or a zip archive. A malicious archive is refused before anything is read from it."""

import errno
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from keras_inat.errors import UserError

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
            return read_member(self.archive, path) if self.archive else _read_file(self.path / path)
        except PermissionError:
            raise ValueError("may not be read") from None


def read_member(archive: zipfile.ZipFile, path: str) -> bytes:
    """Reads one file of an archive, with the errors of `Reader.read`."""
    try:
        with archive.open(path) as file:
            return file.read(MAX_MEMBER_BYTES)
    except MemoryError:
        raise
    except Exception as error:  # `zipfile` and the decompressors raise many classes for a damaged member.
        # bz2 raises an OSError without a number, or EINVAL. Other OSErrors come from the disk.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"cannot be read from the archive ({str(error) or type(error).__name__})") from None


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
    except Exception as error:  # `zipfile` raises many classes for a damaged archive.
        raise UserError(f"{path} cannot be read as a zip archive: {error}") from None
    for member, fault in _find_faults(archive, path.stat().st_size):
        archive.close()
        raise UserError(f"{path} is refused: its member {member.filename!r} {fault}")
    return archive


def _find_faults(archive: zipfile.ZipFile, num_bytes: int) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Yields members that would write outside the folder, overwrite files, fill the disk or ask for a password."""
    members = archive.infolist()
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if fault := _find_fault(member, path):
            yield member, fault
        elif not member.is_dir():
            if path in files:
                yield member, "has the same path as another member"
            files[path] = member
    for path, member in files.items():
        if not files.keys().isdisjoint(path.parents):
            yield member, "lies in a folder with the path of another member"
    end = archive.start_dir  # The table of contents begins here.
    for member in sorted(members, key=lambda member: member.header_offset, reverse=True):
        if member.header_offset + LOCAL_HEADER_BYTES + member.compress_size > end:
            yield member, "overlaps another member or the table of contents"
        end = member.header_offset
    total = sum(member.file_size for member in members)
    if total > max(BOMB_BYTES, MAX_GROWTH * num_bytes):
        declared = f"declare {total / 2**30:.1f} GiB in an archive of {num_bytes / 2**20:.1f} MiB"
        yield max(members, key=lambda member: member.file_size), f"is the largest of members that {declared}"


def _find_fault(member: zipfile.ZipInfo, path: PurePosixPath) -> str:
    if not member.filename or path.is_absolute() or re.match("[A-Za-z]:/", str(path)) or ".." in path.parts:
        return "has no path within the target folder"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or another special file"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > MAX_MEMBER_BYTES:
        return f"declares {member.file_size / 2**20:.0f} MiB; the limit is {MAX_MEMBER_BYTES >> 20} MiB"
    return ""
