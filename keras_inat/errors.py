"""The error that a user can fix, the name of the program in messages, and a test for errors about memory."""

import difflib
import errno
import os
from collections.abc import Iterable

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
MAX_NAMES = 8  # in a list within a message
TERMINATED = 143  # the exit code after SIGTERM


class UserError(Exception):
    """A mistake that the user can fix. Its text is the line that is printed before exit code 2."""


class ExternalError(UserError):
    """An external failure, such as a missing file or a full disk. The run can resume once it is fixed."""


def describe_choices(received: object, choices: Iterable[str]) -> str:
    """Returns the end of an error message: the accepted choices, the received one, and the closest match."""
    choices = sorted(choices)
    matches = difflib.get_close_matches(str(received), choices, n=1, cutoff=0.5)
    hint = f" Did you mean {matches[0]!r}?" if matches else ""
    return f"must be one of {{{', '.join(choices)}}}. Received: {received!r}.{hint}"


def join_names(names: Iterable[str], limit: int = MAX_NAMES) -> str:
    """Returns the first names, separated by commas, and the number of the others: `a, b and 12 more`."""
    names = list(names)
    rest = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def is_out_of_memory(error: Exception) -> bool:
    """Returns True if the machine or the GPU ran out of memory."""
    text = f"{type(error).__name__}: {error}"
    if FULL_DISK in text:  # TensorFlow reports a full disk as exhausted resources, too
        return False
    return isinstance(error, MemoryError) or any(word in text for word in OUT_OF_MEMORY)
