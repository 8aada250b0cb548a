"""Model files of Keras, `.keras`, as archives. They may come from strangers and are checked before anything is read."""

import contextlib
import errno
import json
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError, explain_errors, shorten_error

CONTRACT = "keras_inat.json"  # beside Keras's own members, which Keras does not mind
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
MEMBERS = (CONFIG, CONTRACT, "metadata.json", WEIGHTS)
MAX_JSON = 8_000_000  # bytes of a text; the largest network of keras.applications has 2 MB
MAX_DIRECTORY = 65_536  # bytes of the list of members
END = struct.Struct("<4s4H2LH")  # the last record of an archive: ..., the bytes of the list of members, ...
LOCATOR = b"PK\x06\x07"  # begins a record of 20 bytes before the end of an archive of more than 4 GB


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a model file. Its members are those that Keras and this program write, stored without compression.

    No member is therefore larger than the file, and none is ever extracted to a path of its own.

    Raises:
        UserError: The file is damaged, or it is no model file.
    """
    with explain_errors("read", path):
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("it is not a regular file")
            with open(path, "rb") as file:
                _check_directory(file)
                with zipfile.ZipFile(file) as archive:
                    _check_members(archive, path.stat().st_size)
                    yield archive
        except UserError:
            raise
        except Exception as error:  # `zipfile` raises many types of exception for a damaged archive
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is a place outside the file
                raise
            raise UserError(f"{path} cannot be loaded: {shorten_error(error)}") from None


def read_json(archive: zipfile.ZipFile, member: str) -> Any:
    """Reads a text of a model file. Its checksum is compared."""
    if archive.getinfo(member).file_size > MAX_JSON:
        raise ValueError(f"its {member} has more than {MAX_JSON / 1e6:.0f} MB")
    return json.loads(archive.read(member))


def _check_directory(file: Any) -> None:
    """Refuses a long list of members, which would be read as a whole."""
    file.seek(0, 2)
    file.seek(max(0, file.tell() - END.size - 20))
    tail = file.read()
    if len(tail) < END.size or not tail[-END.size :].startswith(b"PK\x05\x06"):
        raise ValueError("it does not end like an archive")
    if tail.startswith(LOCATOR) or END.unpack(tail[-END.size :])[5] > MAX_DIRECTORY:
        raise ValueError("it has too many members, or more than 4 GB: save the model without its optimizer")


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    names = archive.namelist()
    for info in archive.infolist():
        if info.filename not in MEMBERS:
            raise ValueError(f"a model of images has no member {info.filename!r}")
        if names.count(info.filename) > 1:
            raise ValueError(f"it has two members {info.filename!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise ValueError(f"its {info.filename} is compressed, which Keras never does: save the model again")
        if info.header_offset + info.file_size > size:
            raise ValueError(f"its {info.filename} is incomplete")
