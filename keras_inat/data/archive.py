"""Zip archives: opened only when their table of contents promises no harm, and read through to see them sound."""

import re
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from keras_inat.errors import UserError

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it cannot read such members, and says so
    LZMAError = zlib.error  # type: ignore

# What `zipfile` raises for a member that is broken or, the last, encrypted or compressed in a way it does not know.
DAMAGED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, RuntimeError)
MAX_MEMBER_BYTES = 512 << 20
# Photographs are compressed already: what grows this much, and to this size, was made to fill a disk.
MAX_GROWTH = 100
BOMB_BYTES = 1 << 30
LOCAL_HEADER_BYTES = 30
CHUNK = 1 << 20
REPEATED = "would become the same file as another member"


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive whose members pass `check_members`.

    Raises:
        UserError: When it is no zip archive, or is refused.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*DAMAGED, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a zip archive: {error}") from None
    try:
        check_members(archive, path)
    except UserError:
        archive.close()
        raise
    return archive


def check_bytes(archive: zipfile.ZipFile, report_progress: Callable[[int, int], None]) -> None:
    """Reads every member, so that its checksum is compared.

    Args:
        archive: Open for reading.
        report_progress: Gets the number of members read, and of all.

    Raises:
        UserError: Naming the first member that is damaged.
    """
    members = archive.infolist()
    for number, member in enumerate(members, 1):
        try:
            with archive.open(member) as file:
                while file.read(CHUNK):
                    pass
        except (*DAMAGED, OSError, ValueError) as error:
            raise UserError(f"its member {member.filename!r} is damaged: {error or type(error).__name__}") from None
        report_progress(number, len(members))


def check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses an archive that would write elsewhere, twice or endlessly, or that cannot be read without a password.

    Args:
        archive: Open for reading.
        path: Its file; the errors name it.

    Raises:
        UserError: Naming the first member that has no name, is an absolute path, leads upwards, is a link or another
            special file, is encrypted, is larger than `MAX_MEMBER_BYTES`, would become the same file as another, lies
            in another or shares bytes with another; or the largest one, when all together are larger than `BOMB_BYTES`
            and than `MAX_GROWTH` archives.
    """
    members = archive.infolist()
    names, folders = set[str](), dict[str, zipfile.ZipInfo]()
    for member in members:
        name = member.filename.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        fault = _find_fault(member, name, parts)
        if not fault and not member.is_dir():
            key = "/".join(parts)
            fault = REPEATED if key in names else ""
            names.add(key)
            folders.update(("/".join(parts[:depth]), member) for depth in range(1, len(parts)))
        if fault:
            raise _refuse(path, member, fault)
    if both := names & folders.keys():
        raise _refuse(path, folders[min(both)], "lies in a folder that is a file, too")
    _check_overlaps(members, archive.start_dir, path)
    total, size = sum(member.file_size for member in members), path.stat().st_size
    if total > max(BOMB_BYTES, MAX_GROWTH * size):
        largest = max(members, key=lambda member: member.file_size)
        fault = f"is the largest of members that claim {total / 2**30:.1f} GiB in an archive of {size / 2**20:.1f} MiB"
        raise _refuse(path, largest, fault)


def _find_fault(member: zipfile.ZipInfo, name: str, parts: list[str]) -> str:
    if not name:
        return "has no name"
    if name.startswith("/") or re.match("[A-Za-z]:/", name):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of the folder that it is unpacked to"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or another special file"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > MAX_MEMBER_BYTES:
        return f"claims {member.file_size / 2**20:.0f} MiB, the most is {MAX_MEMBER_BYTES >> 20}"
    return ""


def _check_overlaps(members: list[zipfile.ZipInfo], end: int, path: Path) -> None:
    """A member must end before the next begins, the last one before `end`, where the table of contents is."""
    for member in sorted(members, key=lambda member: member.header_offset, reverse=True):
        if member.header_offset + LOCAL_HEADER_BYTES + member.compress_size > end:
            raise _refuse(path, member, "shares its bytes with another member or the table of contents")
        end = member.header_offset


def _refuse(path: Path, member: zipfile.ZipInfo, fault: str) -> UserError:
    return UserError(f"{path} is refused: its member {member.filename!r} {fault}")
