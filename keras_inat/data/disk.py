"""Free disk space and file sizes."""

import shutil
from pathlib import Path

from keras_inat.errors import ExternalError


def check_space(target: Path, needed: int, hint: str) -> None:
    """Checks that the disk of `target` has `needed` bytes free.

    Args:
        target: A path in an existing folder.
        needed: The number of bytes to be written.
        hint: Advice for the error message.

    Raises:
        ExternalError: The disk has less space.
    """
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ExternalError(
            f"{target} needs {needed / 2**30:.2f} GiB more disk space, but only {free / 2**30:.2f} GiB are free: {hint}"
        )


def file_size(path: Path) -> int:
    """Returns the size of a file in bytes, or 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0
