"""Zip archives: checks against malicious contents before they are opened, and against damage."""

import re
import stat
import zipfile
import zlib
from collections.abc import Callable
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
CHUNK = 1 << 20
REPEATED = "has the same path as another member"


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive whose members pass `check_members`.

    Raises:
        UserError: The file is not a zip archive, or it is refused.
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


def check_bytes(archive: zipfile.ZipFile, report_progress: Callable[[int], None]) -> None:
    """Reads every member, so that its checksum is verified.

    Args:
        archive: An archive open for reading.
        report_progress: Called with the number of members read since the last call.

    Raises:
        UserError: A member is damaged. The error names it.
    """
    members = archive.infolist()
    for member in members:
        try:
            with archive.open(member) as file:
                while file.read(CHUNK):
                    pass
        except (*DAMAGED, OSError, ValueError) as error:
            raise UserError(f"its member {member.filename!r} is damaged: {error or type(error).__name__}") from None
        report_progress(1)


def check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses an archive that would write outside its folder, overwrite its own files, fill the disk or ask a password.

    Args:
        archive: An archive open for reading.
        path: The path of its file, for the error message.

    Raises:
        UserError: A member has no name, has an absolute path or one with `..`, is a link or another special file, is
            encrypted, is larger than `MAX_MEMBER_BYTES`, has the same path as another member, lies inside another
            member, or overlaps one. Or all members together are larger than `BOMB_BYTES` and larger than
            `MAX_GROWTH` times the archive. The error names the member, or the largest one.
    """
    members = archive.infolist()
    names = set[str]()
    folders = dict[str, zipfile.ZipInfo]()
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
        raise _refuse(path, folders[min(both)], "lies in a folder with the path of another member")
    _check_overlaps(members, archive.start_dir, path)
    total = sum(member.file_size for member in members)
    size = path.stat().st_size
    if total > max(BOMB_BYTES, MAX_GROWTH * size):
        largest = max(members, key=lambda member: member.file_size)
        fault = (
            f"is the largest of members that declare {total / 2**30:.1f} GiB in an archive of {size / 2**20:.1f} MiB"
        )
        raise _refuse(path, largest, fault)


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


def _check_overlaps(members: list[zipfile.ZipInfo], end: int, path: Path) -> None:
    """Refuses members that overlap one another or the table of contents, which begins at byte `end`."""
    for member in sorted(members, key=lambda member: member.header_offset, reverse=True):
        if member.header_offset + LOCAL_HEADER_BYTES + member.compress_size > end:
            raise _refuse(path, member, "overlaps another member or the table of contents")
        end = member.header_offset


def _refuse(path: Path, member: zipfile.ZipInfo, fault: str) -> UserError:
    return UserError(f"{path} is refused: its member {member.filename!r} {fault}")
