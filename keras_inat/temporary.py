"""One temporary folder for all that a process, its libraries and the processes that it starts put into such folders.

W&B and TensorFlow leave files there when a process is killed, or when it ends without the exit handlers of Python.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_inat.files import name_owner, remove_ownerless

PREFIX = "inat"
MAX_LENGTH = 70  # of the path. Those of the sockets in the folder may have about 100 characters.


@contextlib.contextmanager
def use_temporary_folder() -> Iterator[None]:
    """Uses a temporary folder of this process, and removes it at the end, as well as those of killed processes."""
    parent = Path(tempfile.gettempdir())
    remove_ownerless(parent, PREFIX)
    folder = parent / f"{PREFIX}{name_owner()}"
    before = os.environ.get("TMPDIR")
    try:
        if len(str(folder)) <= MAX_LENGTH:
            with contextlib.suppress(OSError):  # a full disk, for example, which the command itself reports
                folder.mkdir(mode=0o700)
                os.environ.setdefault("RAY_TMPDIR", str(parent))  # Ray finds the machine's cluster by a file there
                _set_folder(str(folder))
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _set_folder(before)


def _set_folder(path: str | None) -> None:
    tempfile.tempdir = path
    if path is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = path
