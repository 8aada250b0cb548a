"""Lists and reads the files in a folder or a zip archive. A malicious archive is refused before anything is read."""

import errno
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from keras_inat.errors import UserError, shorten_error

MAX_MEMBER_BYTES = 512 << 20
SPECIAL = "is a link or another special file"
# Photographs are already compressed. An archive that grows by this factor and to this size is a zip bomb.
MAX_GROWTH = 100
BOMB_BYTES = 1 << 30
LOCAL_HEADER_BYTES = 30
NO_WAITING = getattr(os, "O_NONBLOCK", 0)
# The reasons why a file cannot be read that differ from the message of the system.
FAULTS = {
    errno.ENOENT: "is gone",
    errno.EACCES: "may not be read",
    errno.EPERM: "may not be read",
}
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # errors that no file is to blame for
END_BYTES = (1 << 16) + 22  # of the last record of a zip archive, with the longest comment
# Files and folders that operating systems put beside those of the user.
STRAYS = ("__MACOSX", "Thumbs.db", "desktop.ini", "lost+found", "$RECYCLE.BIN", "System Volume Information")


class Listing(NamedTuple):
    """The files of a folder or archive, without hidden and system files."""

    files: dict[str, str]  # the path of each file for `Reader`, by the same path with "/" between the folders
    empty_folders: list[str]  # the paths of the folders without files


class Reader:
    """Lists and reads the files of a folder or zip archive by their path in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = None if path.is_dir() else open_archive(path)

    def list_files(self) -> Listing:
        """Returns the files of all folders. Links to folders are followed."""
        if self.archive is None:
            return _list_folder(self.path)
        names = [member.filename for member in self.archive.infolist() if not member.is_dir()]
        files = {_slash(name): name for name in names}
        return Listing({path: name for path, name in files.items() if not _is_stray(path.split("/"))}, [])

    def describe(self, path: str) -> tuple[int, str]:
        """Returns the size of a file in bytes, and a text that changes when the file changes.

        The text holds the times of the last changes of content, name or permissions, or the checksum in an archive. It
        is empty for a broken link and for a missing file.
        """
        try:
            if self.archive:
                member = self.archive.getinfo(path)
                return member.file_size, f"{member.CRC:08x}"
            status = (self.path / path).stat()
        except (OSError, KeyError):
            return 0, ""
        return status.st_size, f"{status.st_mtime_ns}-{status.st_ctime_ns}"

    def read(self, path: str) -> bytes:
        """Reads one file. Safe to call from several threads.

        Raises:
            ValueError: The file cannot be read. The message follows "it", such as "is a broken link".
        """
        return read_member(self.archive, path) if self.archive else read_file(self.path / path)


def _list_folder(folder: Path) -> Listing:
    listing = Listing({}, [])
    # The files and folders that are still to be listed, the next one last. Each has its path in the source and the
    # folders that it lies in.
    waiting: list[tuple[Path | os.DirEntry[str], str, tuple[tuple[int, int], ...]]] = [(folder, "", ())]
    while waiting:
        place, path, parents = waiting.pop()
        if path and not _is_folder(place):
            listing.files[path] = path
            continue
        status = place.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in parents:  # A link to a parent folder would never end.
            continue
        with os.scandir(place) as entries:
            found = sorted((entry for entry in entries if not _is_stray((entry.name,))), key=lambda entry: entry.name)
        if not found and path:
            listing.empty_folders.append(path)
        start = f"{path}/" if path else ""
        waiting += [(entry, start + entry.name, (*parents, identity)) for entry in reversed(found)]
    return listing


def _is_folder(place: Path | os.DirEntry[str]) -> bool:
    try:
        return place.is_dir()
    except OSError:  # such as a link to itself
        return False


def _slash(path: str) -> str:
    # Some programs write archives with the separators of Windows, or with "./" in front.
    return path.replace("\\", "/").removeprefix("./")


def _is_stray(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part in STRAYS for part in parts)


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
        raise ValueError(f"cannot be read from the archive ({shorten_error(error)})") from None


def read_file(path: Path) -> bytes:
    """Reads one file of a folder, with the errors of `Reader.read`."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ValueError("is a folder")
        if not stat.S_ISREG(status.st_mode):  # Reading a pipe or a device may never end.
            raise ValueError("is not a regular file")
        if status.st_size > MAX_MEMBER_BYTES:
            raise ValueError(f"is too large for an image ({status.st_size >> 20} MiB)")
        # It may have been replaced by a pipe since.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | NO_WAITING)) as file:
            return file.read(status.st_size + 1)  # not the limit, for which memory would be reserved
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            raise ValueError("is a broken link") from None
        raise ValueError(FAULTS.get(error.errno or 0) or f"cannot be read ({error.strerror})") from None


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive. Raises a UserError if it is damaged, or if unpacking it would not be safe."""
    if _is_last_part(path):
        raise UserError(
            f"{path} is the last of several parts: join them first, with `zip -s 0 {path.name} --out whole.zip`"
        )
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # `zipfile` raises many classes for a damaged archive.
        raise UserError(f"{path} cannot be read as a zip archive: {shorten_error(error)}") from None
    for member, fault in _find_faults(archive, path.stat().st_size):
        archive.close()
        raise UserError(f"{path} is refused: its member {member.filename!r} {fault}")
    return archive


def _is_last_part(path: Path) -> bool:
    """Returns True if the last record of a zip archive has a number other than 0 for its disk."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - END_BYTES))
        _, record, rest = file.read().rpartition(b"PK\5\6")
    # Large archives have the number 65535 here.
    return bool(record) and rest[:2] not in (b"\0\0", b"\xff\xff")


def _find_faults(archive: zipfile.ZipFile, num_bytes: int) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Yields members that would write outside the folder, overwrite files, fill the disk or ask for a password."""
    members = archive.infolist()
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if fault := _find_fault(member):
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


def _find_fault(member: zipfile.ZipInfo) -> str:
    if fault := find_path_fault(member.filename):
        return fault
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return SPECIAL
    if member.flag_bits & 1:
        return "is encrypted: unpack the archive with its password, and give the folder"
    return find_size_fault(member.file_size)


def find_size_fault(num_bytes: int) -> str:
    """Returns the fault of a member of this size; empty if there is none."""
    if num_bytes > MAX_MEMBER_BYTES:
        return f"declares {num_bytes / 2**20:.0f} MiB; the limit is {MAX_MEMBER_BYTES >> 20} MiB"
    return ""


def find_path_fault(name: str) -> str:
    """Returns the fault of the path of a member; empty if it stays within the target folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or re.match("[A-Za-z]:/", str(path)) or ".." in path.parts:
        return "has no path within the target folder"
    return ""
