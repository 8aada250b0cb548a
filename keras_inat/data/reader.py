"""Reading single files of a data set from a folder or an archive.

Decoding workers import this module when they start, so it imports little.
"""

import errno
import stat
import zipfile
from pathlib import Path

from keras_inat.data.archive import DAMAGED, MAX_MEMBER_BYTES, open_archive

FOLDER = "is a folder: images must be directly in their class folder"


class Reader:
    """Reads the files of a folder or zip archive by their path in it.

    Raises:
        UserError: The archive is damaged, or it is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = None if path.is_dir() else open_archive(path)

    def read(self, path: str) -> bytes:
        """Reads one file. Safe to call from several threads.

        Raises:
            ValueError: The file cannot be read. The message follows "it", such as "is a broken link".
        """
        try:
            return self._read_member(path) if self.archive else _read_file(self.path / path)
        except PermissionError:
            raise ValueError("may not be read") from None
        except DAMAGED as error:
            raise ValueError(f"cannot be read from the archive ({error})") from None

    def _read_member(self, path: str) -> bytes:
        assert self.archive
        try:
            with self.archive.open(path) as file:
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
        raise ValueError(FOLDER)
    if not stat.S_ISREG(status.st_mode):  # Reading a pipe would never end.
        raise ValueError("is not a file")
    if status.st_size > MAX_MEMBER_BYTES:
        raise ValueError(f"is too large for an image ({status.st_size >> 20} MiB)")
    return path.read_bytes()
