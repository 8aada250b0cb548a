"""Download of an archive over an unreliable network. An interrupted download resumes."""

import base64
import errno
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from keras_inat.data.archive import open_archive, read_member
from keras_inat.data.conversion import SUFFIXES
from keras_inat.errors import PROGRAM, UserError
from keras_inat.files import check_space, file_size, hold_lock, make_printable, sync_file
from keras_inat.progress import track_progress
from keras_inat.settings.places import name_url

BLOCK = 1 << 20
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)
TIMEOUT_SECONDS = 30
# The pause before each next attempt, by the number of consecutive attempts without progress. After the last one the
# download is given up.
PAUSES_SECONDS = (1, 2, 4, 8, 16)
# The texts of these errors have the address, and with it a password.
INVALID = (ValueError, http.client.InvalidURL)
NO_ADDRESS = "it is not a valid address; in a user and a password, %40 stands for @, %2F for / and %3A for :"
ALTERNATIVES = "or give ZIP=<file>, or use DATA=demo"


def download(url: str, directory: Path) -> Path:
    """Downloads a zip archive, which appears in `directory` only when it is complete and undamaged. Returns its path.

    Raises:
        UserError: The address is that of another archive or cannot be reached, the disk is too small, another process
            is downloading the archive, or the response is not an undamaged zip archive.
    """
    shown = make_printable(name_url(url))
    path = re.sub(r"^\w+://[^/?#]*|[?#].*", "", url)
    if path.lower().endswith(SUFFIXES) and not path.lower().endswith(".zip"):
        raise UserError(f"URL must be the address of a .zip archive: download {shown} yourself, and give ZIP=<file>")
    stem = Path(path).stem[:100] or "data"
    # The hash tells archives of one name at two addresses apart.
    archive = directory / f"{stem}-{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}.zip"
    partial = Path(f"{archive}.part")
    directory.mkdir(parents=True, exist_ok=True)
    lock = archive.with_name(f".{archive.name}.lock")
    with hold_lock(lock, busy=f"another process is downloading {archive}: let it finish first"):
        if not archive.exists():
            try:
                _fetch(url, partial)
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = NO_ADDRESS if isinstance(error, INVALID) else _describe(error)
                raise UserError(
                    f"{shown} could not be downloaded ({reason}): run `{PROGRAM} data` again to resume, {ALTERNATIVES}"
                ) from None
            _check_archive(shown, partial)
            sync_file(partial)
            partial.rename(archive)
            print(f"downloaded {archive}")
    return archive


def _fetch(url: str, partial: Path) -> None:
    """Completes `partial`. It tries again as long as attempts make progress."""
    start = file_size(partial)
    furthest = start
    total = None
    failures = 0
    while True:
        try:
            response, first, total = _request(url, partial, total)
            if response:
                with response:
                    _save(response, partial, first, total)
            return
        except (OSError, http.client.HTTPException) as error:
            # A server without support for ranges starts over each time. Only bytes beyond the furthest are progress.
            failures = 0 if file_size(partial) > furthest else failures + 1
            furthest = max(furthest, file_size(partial))
            if failures > len(PAUSES_SECONDS) or not _is_temporary(error, has_begun=furthest > start):
                raise
            pause = PAUSES_SECONDS[max(failures, 1) - 1]
            print(f"{_describe(error)}: trying again in {pause} s", flush=True)
            time.sleep(pause)


def _request(url: str, partial: Path, known: int | None) -> tuple[Any, int, int | None]:
    """Requests the bytes that `partial` lacks of an archive, whose size is `known` from an earlier response, or None.

    Returns the response, or None if nothing is missing; the position of its first byte; the archive's size, or None.
    """
    first = file_size(partial)
    request = _build_request(url)
    if first:
        request.add_header("Range", f"bytes={first}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not first:
            raise
        total = _read_size(error.headers["Content-Range"])
        if first == total or (total is None and zipfile.is_zipfile(partial)):
            return None, first, total
    else:
        if response.status != 206:
            return response, 0, _read_size(response.headers["Content-Length"])
        given = response.headers["Content-Range"] or ""
        total = _read_size(given) or known
        if given.startswith(f"bytes {first}-") and known in (None, total):
            return response, first, total
        response.close()
    partial.unlink(missing_ok=True)
    raise ConnectionError(f"the file on the server has changed since its first {first} bytes were downloaded")


def _build_request(url: str) -> urllib.request.Request:
    """Returns a request that has the user and the password of an address, if any, in its header only."""
    parts = urllib.parse.urlsplit(url)
    credentials, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host)))
    if at:
        encoded = base64.b64encode(urllib.parse.unquote(credentials).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")  # not for the host of a redirection
    return request


def _read_size(header: str | None) -> int | None:
    """Returns the size at the end of a `Content-Length` or `Content-Range` header, or None if there is none."""
    size = (header or "").rpartition("/")[2]
    return int(size) if size.isdecimal() else None


def _save(response: Any, partial: Path, done: int, total: int | None) -> None:
    """Writes the body of a response to `partial`, beginning at byte `done`."""
    if total is not None:
        check_space(partial, total - file_size(partial), "free some space, or set `data.directory` to another disk")
    with (
        open(partial, "ab" if done else "wb") as file,
        # Without a known total no progress is shown.
        track_progress(f"downloading {partial.stem}", (total or 0) >> 20, "MiB", completed=done >> 20) as advance,
    ):
        # `read1` returns the bytes that have arrived. `read` would lose them if the connection stalled.
        while block := response.read1(BLOCK):
            file.write(block)
            advance((done + len(block) >> 20) - (done >> 20))
            done += len(block)
    if total is not None and done < total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _is_temporary(error: OSError | http.client.HTTPException, has_begun: bool) -> bool:
    """Returns True if another attempt may succeed. `has_begun` is True if this call has received bytes."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500
    if isinstance(error, urllib.error.URLError):  # There is no connection. An offline machine should fail at once.
        return has_begun
    return not isinstance(error, http.client.InvalidURL) and getattr(error, "errno", None) not in DISK_ERRORS


def _describe(error: Exception) -> str:
    reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    return " ".join(str(reason).split()) or type(error).__name__


def _check_archive(shown: str, partial: Path) -> None:
    """Reads every member, so that its checksum is verified. A damaged archive is removed."""
    try:
        archive = open_archive(partial)
        with archive, track_progress(f"checking {partial.stem}", len(archive.filelist), "files") as advance:
            for name in archive.namelist():
                try:
                    read_member(archive, name)
                except ValueError as error:
                    raise UserError(f"its member {name!r} {error}") from None
                advance(1)
    except UserError as error:
        partial.unlink()
        raise UserError(
            f"the file from {shown} is not a usable zip archive ({error}) and was removed: run `{PROGRAM} data` again "
            f"to download it again, {ALTERNATIVES}"
        ) from None
