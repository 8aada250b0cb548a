"""The time, the commit and the package versions that a result is recorded with."""

import contextlib
import functools
import importlib.metadata
import subprocess
from datetime import UTC, datetime
from pathlib import Path

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
    """Returns the commit of the program, with `+` if files differ from it; None outside a git checkout."""
    describe = ("describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+")
    command = ["git", "-C", str(Path(__file__).parent), *describe]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def read_package_versions() -> dict[str, str]:
    """Returns the installed versions of the packages that decide a result."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
