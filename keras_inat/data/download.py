"""Getting the photographs: an archive from the network, and its images on the disk; both go on where they stopped."""

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Collection, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

from keras_inat.data.archive import REPEATED, check_bytes, open_archive
from keras_inat.data.source import Source
from keras_inat.errors import UserError
from keras_inat.files import hold_lock, make_printable
from keras_inat.progress import track_progress

CHUNK = 1 << 20
TIMEOUT_SECONDS = 30
# Before the next attempt, by how many in a row brought nothing; one more than there are pauses is the last.
PAUSES_SECONDS = (1, 2, 4, 8, 16)
WAYS_ON = "or give ZIP=<file>, or use DATA=demo"


def download(url: str, directory: Path) -> Path:
    """Downloads a zip archive, whole and sound or not at all; goes on where an earlier call stopped.

    Args:
        url: Its address.
        directory: Where it goes; made when missing.

    Returns:
        The archive's path, named after the address.

    Raises:
        UserError: When the address cannot be reached, the disk is too small, another process downloads it now, or
            anything but a sound zip archive came.
    """
    try:
        stem = Path(urllib.parse.urlsplit(url).path).stem[:100] or "data"
    except ValueError as error:
        raise _give_up(url, error) from None
    # Archives of one name at two addresses are two archives.
    archive = directory / f"{stem}-{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}.zip"
    partial = Path(f"{archive}.part")
    directory.mkdir(parents=True, exist_ok=True)
    lock = archive.with_name(f".{archive.name}.lock")
    with hold_lock(lock, busy=f"another process is downloading {archive}: let it finish first"):
        if not archive.exists():
            try:
                _fetch(url, partial)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise _give_up(url, error) from None
            _check(url, partial)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            partial.rename(archive)
            print(f"downloaded {archive}")
    return archive


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks the images of an archive into `folder`, which appears when all of them are there.

    What an interrupted call left is checked and kept, and so is a `folder` that holds all of it already.

    Args:
        archive: A zip file with `train/<Class>/*` and `val/<Class>/*` somewhere in it.
        folder: To be made, with `train/<Class>/*` and `val/<Class>/*`.

    Returns:
        The number of images.

    Raises:
        UserError: When `folder` holds something else, the disk is too small, another process unpacks there now, or the
            archive is damaged, hostile or without images.
    """
    temporary = folder.parent / f".{folder.name}.unpacking"
    with open_archive(archive) as members:
        source, targets = Source(archive), {}
        for image in source.files:
            target = temporary / source.place(image)
            if target in targets:
                raise UserError(f"{archive} is refused: its member {image.path!r} {REPEATED}")
            targets[target] = (image, members.getinfo(image.path))
    folder.parent.mkdir(parents=True, exist_ok=True)
    busy = f"another process is unpacking into {folder}: let it finish first"
    with hold_lock(folder.parent / f".{folder.name}.lock", busy=busy):
        if folder.exists():
            if all(
                _is_there(folder / target.relative_to(temporary), member) for target, (_, member) in targets.items()
            ):
                return len(targets)
            raise UserError(f"{folder} exists already: delete it first, or give another DATA for {archive}")
        _remove_others(temporary, targets.keys())
        missing = sum(max(0, member.file_size - _size(target)) for target, (_, member) in targets.items())
        _check_space(folder, missing)
        with track_progress(f"unpacking {archive.name}", len(targets), "files") as advance:
            for target, (image, member) in targets.items():
                if not _is_there(target, member):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        target.write_bytes(source.read(image))
                    except ValueError as error:
                        raise UserError(f"{image.path} in {archive} {error}") from None
                advance(1)
        os.sync()
        temporary.rename(folder)
    return len(targets)


def _fetch(url: str, partial: Path) -> None:
    """Completes `partial`, trying again for as long as attempts bring it further."""
    start = furthest = _size(partial)
    total, failures = None, 0
    while True:
        try:
            response, first, total = _ask(url, partial, total)
            if response:
                with response:
                    _save(response, partial, first, total)
            return
        except (OSError, http.client.HTTPException) as error:
            # A server that always starts anew brings bytes, but none beyond those that were there.
            failures = 0 if _size(partial) > furthest else failures + 1
            furthest = max(furthest, _size(partial))
            if failures > len(PAUSES_SECONDS) or not _may_pass(error, begun=furthest > start):
                raise
            pause = PAUSES_SECONDS[max(failures, 1) - 1]
            print(f"{_say(error)}: trying again in {pause} s", flush=True)
        time.sleep(pause)


def _ask(url: str, partial: Path, known: int | None) -> tuple[Any, int, int | None]:
    """Asks for what `partial` lacks of `known` bytes.

    Returns:
        The response, None when nothing lacks; where in the file it begins; the file's size, None when nobody says.
    """
    first = _size(partial)
    request = urllib.request.Request(url, headers={"Range": f"bytes={first}-"} if first else {})
    try:
        with _name_network_errors():
            response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not first:
            raise
        _, total = _read_range(error.headers)
        if first == total or (total is None and zipfile.is_zipfile(partial)):
            return None, first, total
        response = None
    if response and response.status != 206:
        length = response.headers.get("Content-Length") or ""
        return response, 0, int(length) if length.isdigit() else None
    if response:
        begins, total = _read_range(response.headers)
        if begins == first and (known is None or total in (None, known)):
            return response, first, total or known
        response.close()
    partial.unlink(missing_ok=True)
    raise ConnectionError(f"the server has another file than the one begun, of which {first} bytes were there")


def _read_range(headers: Message) -> tuple[int | None, int | None]:
    """Where a part begins, and the size of the whole, as `Content-Range` says."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers.get("Content-Range") or "")
    begins, total = found.groups() if found else (None, None)
    return int(begins) if begins else None, int(total) if total else None


def _save(response: Any, partial: Path, done: int, total: int | None) -> None:
    """Writes what comes to `partial`, from byte `done` on."""
    if total is not None:
        _check_space(partial, total - _size(partial))
    num_mebibytes = 0 if total is None else total >> 20  # of an unknown total, no progress is shown
    with (
        open(partial, "ab" if done else "wb") as file,
        track_progress(f"downloading {partial.stem}", num_mebibytes, "MiB", completed=done >> 20) as advance,
    ):
        while total is None or done < total:
            with _name_network_errors():
                # What is there, and not until the block is full: a stall must not lose what came before it.
                block = response.read1(CHUNK if total is None else min(CHUNK, total - done))
            if not block:
                break
            file.write(block)
            advance((done + len(block) >> 20) - (done >> 20))
            done += len(block)
        if total is not None and done < total:
            raise ConnectionError(f"the connection closed after {done} of {total} bytes")


@contextlib.contextmanager
def _name_network_errors() -> Iterator[None]:
    """Makes what fails in here tell from a failing disk: a ConnectionError, or a URLError without a connection."""
    try:
        yield
    except urllib.error.URLError:
        raise
    except OSError as error:
        raise ConnectionError(str(error) or type(error).__name__) from None


def _may_pass(error: Exception, begun: bool) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500
    if isinstance(error, urllib.error.URLError):  # no connection: an offline machine should not be kept waiting
        return begun
    passing = isinstance(error, ConnectionError | http.client.HTTPException)
    return passing and not isinstance(error, http.client.InvalidURL)


def _say(error: Exception) -> str:
    reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    return " ".join(str(reason).split()) or type(error).__name__


def _give_up(url: str, error: Exception) -> UserError:
    return UserError(
        f"{make_printable(url)} could not be downloaded ({_say(error)}): run `make data` again to go on, {WAYS_ON}"
    )


def _check(url: str, partial: Path) -> None:
    """Reads every member; removes an archive that is not sound."""
    try:
        with (
            open_archive(partial) as members,
            track_progress(f"checking {partial.stem}", len(members.infolist()), "files") as advance,
        ):
            check_bytes(members, advance)
    except UserError as error:
        partial.unlink()
        raise UserError(
            f"what {url} sent is no sound zip archive ({error}) and was removed: run `make data` again to start anew, "
            f"{WAYS_ON}"
        ) from None


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise UserError(
            f"{target} needs {needed / 2**30:.2f} GiB more, and its disk has {free / 2**30:.2f} GiB free: make room, "
            "or name a folder on another disk"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_there(target: Path, member: zipfile.ZipInfo) -> bool:
    there = target.is_file() and target.stat().st_size == member.file_size
    return there and zlib.crc32(target.read_bytes()) == member.CRC


def _remove_others(temporary: Path, targets: Collection[Path]) -> None:
    """Removes everything in `temporary` but the files `targets` and the folders that they are in."""
    kept = {folder for target in targets for folder in target.parents}
    for directory, folders, files in os.walk(temporary, topdown=False):
        for path in (Path(directory, name) for name in (*files, *folders)):
            if path.is_symlink() or not (path.is_dir() or path in targets):
                path.unlink()
            elif path.is_dir() and path not in kept:
                path.rmdir()
