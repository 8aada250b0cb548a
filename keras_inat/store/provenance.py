"""The time, the commit and the package versions that a result is recorded with."""

import contextlib
import functools
import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from keras_inat import __version__

PACKAGES = (
    "keras",
    "keras-tuner",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
    "tensorflow",
    "tensorflow-cpu",
)


def now() -> str:
    """Returns the current time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def read_commit() -> str | None:
    """Returns the commit of the program, with `+` if files differ from it; None without a checkout of its own.

    An installed package may lie within the checkout of another program, whose commit says nothing.
    """
    home = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(home), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != home:
            return None
        return git("describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+")
    except (OSError, subprocess.SubprocessError):
        return None


def read_package_versions() -> dict[str, str]:
    """Returns the versions of this program, of Python and of the installed packages that decide a result."""
    versions = {"keras-inat": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
