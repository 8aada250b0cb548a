"""The one error a user should ever see, and how others are told apart."""

import difflib
import errno
import os
from collections.abc import Iterable

# TensorFlow's errors are known by their words: `tf.*` stays out of here.
OUT_OF_MEMORY = (
    "ResourceExhaustedError",
    "RESOURCE_EXHAUSTED",
    "Dst tensor is not initialized",
    "CUDNN_STATUS_ALLOC_FAILED",
    os.strerror(errno.ENOMEM),
)
FULL_DISK = os.strerror(errno.ENOSPC)
TERMINATED = 143  # exit code of a process that SIGTERM ended in order


class UserError(Exception):
    """A mistake that the user can mend. Its text is the one line printed before exit code 2."""


class ObstacleError(UserError):
    """What no setting is to blame for, as files that are gone or no room for them: with that mended it goes on."""


def describe_choices(received: object, choices: Iterable[str]) -> str:
    """Says what is accepted, what came instead, and which choice was probably meant."""
    choices = sorted(choices)
    near = difflib.get_close_matches(str(received), choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"must be one of {{{', '.join(choices)}}}. Received: {received!r}.{hint}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was short, of the machine or of a GPU; TensorFlow calls a full disk exhausted resources, too."""
    text = f"{type(error).__name__}: {error}"
    short = isinstance(error, MemoryError) or any(word in text for word in OUT_OF_MEMORY)
    return short and FULL_DISK not in text
