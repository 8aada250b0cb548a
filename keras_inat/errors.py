"""The errors that a user can fix, with the remedies of errors about files, and a test for errors about memory."""

import contextlib
import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator

# TensorFlow's errors are recognized by their text, because this module does not import TensorFlow.
OUT_OF_MEMORY = (
    "ResourceExhaustedError",
    "RESOURCE_EXHAUSTED",
    "Dst tensor is not initialized",
    "CUDNN_STATUS_ALLOC_FAILED",
    os.strerror(errno.ENOMEM),
)
FULL_DISK = os.strerror(errno.ENOSPC)
PROGRAM = os.environ.get("KERAS_INAT_PROGRAM", "keras-inat")  # what a user types before a command; `make` in a clone
MAX_CHARACTERS = 4000  # of a message
MAX_NAMES = 8  # in a list within a message
# The end of the message of an error about a file, by its number.
_NO_ACCESS = (
    "ask its owner for access, or choose another folder with `run.directory`, `data.directory`, `report.directory` or "
    "`predict.output`"
)
_NO_SPACE = "free some space, then run the command again: finished work is kept"
_BROKEN_DISK = "check the disk or the network share, then run the command again: finished work is kept"
_SAME_NAME = "a file is where a folder is needed, or the other way round: move it, or choose another name"
NOT_REGULAR = "Not a regular file"  # the reason why a pipe, a device or a folder is not read
REMEDIES = {
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.EROFS: _NO_ACCESS,
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EFBIG: "its size is over a limit of its file system, of `ulimit -f` or of this program",
    errno.EIO: _BROKEN_DISK,
    errno.ESTALE: _BROKEN_DISK,
    errno.ETIMEDOUT: _BROKEN_DISK,
    errno.ENOENT: "it or its folder was moved or deleted: restore it, or choose another one",
    errno.EEXIST: _SAME_NAME,
    errno.EISDIR: _SAME_NAME,
    errno.ENOTDIR: _SAME_NAME,
    errno.ENAMETOOLONG: "choose a shorter name or a folder with a shorter path",
    errno.EMFILE: "allow more open files, as with `ulimit -n 4096`",
    errno.ENOSYS: "its file system cannot do this: choose a folder on another disk",
    errno.EOPNOTSUPP: "its file system cannot do this: choose a folder on another disk",
}


class UserError(Exception):
    """A mistake that the user can fix. Its text is the line that is printed before exit code 2."""


class ExternalError(UserError):
    """An external failure, such as a missing file or a full disk. The run can resume once it is fixed."""


class FileError(OSError):
    """A failure of the system to read or write a file. Its text says what was being done, and the remedy."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextlib.contextmanager
def explain_errors(action: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an `OSError` into a `FileError` that says what was being done: an action, such as "write", and a path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileError) or not error.errno:
            raise
        raise FileError(error.errno, describe_os_error(error, action, os.fspath(path)), os.fspath(path)) from error


def describe_os_error(error: OSError, action: str = "use", path: str = "") -> str:
    """Returns one line: what was being done, with which file, why it failed, and what to do."""
    if isinstance(error, FileError) or not error.errno:
        return str(error)
    place = path or str(error.filename or "")
    reason = NOT_REGULAR if error.strerror == NOT_REGULAR else os.strerror(error.errno)
    remedy = REMEDIES.get(error.errno)
    return f"{f'cannot {action} {place}: ' if place else ''}{reason}{f': {remedy}' if remedy else ''}"


def describe_choices(received: object, choices: Iterable[str]) -> str:
    """Returns the end of an error message: the accepted choices, the received one, and the closest match."""
    choices = sorted(choices)
    matches = difflib.get_close_matches(str(received), choices, n=1, cutoff=0.5)
    hint = f" Did you mean {matches[0]!r}?" if matches else ""
    return f"must be one of {{{', '.join(choices)}}}. Received: {received!r}.{hint}"


def hide_credentials(text: str) -> str:
    """Returns a text whose addresses have neither user nor password."""
    return re.sub(r"(?<=://)\S*@", "", text)


def format_message(text: str) -> str:
    """Returns a message as one line without passwords: names in it may be long or have line breaks or escapes."""
    text = hide_credentials(text)
    if len(text) > MAX_CHARACTERS:
        text = f"{text[: MAX_CHARACTERS // 2]} … {text[-MAX_CHARACTERS // 2 :]}"
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def join_names(names: Iterable[str], limit: int = MAX_NAMES) -> str:
    """Returns the first names, separated by commas, and the number of the others: `a, b and 12 more`."""
    names = list(names)
    rest = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def shorten_error(error: Exception, limit: int = 200) -> str:
    """Returns the message of an exception of a library as one printable line."""
    text = str(error).rpartition("Exception encountered: ")[2]  # Keras repeats a whole configuration before it
    return "".join(filter(str.isprintable, " ".join(text.split())))[:limit] or type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Returns True if the machine or the GPU ran out of memory."""
    text = f"{type(error).__name__}: {error}"
    if FULL_DISK in text:  # TensorFlow reports a full disk as exhausted resources, too
        return False
    return isinstance(error, MemoryError) or any(word in text for word in OUT_OF_MEMORY)
