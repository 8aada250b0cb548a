"""Paths and addresses as records have them: without folders, users and hosts of this machine, as records are shared."""

import os
import re
from pathlib import Path

RUN_NAME = re.compile(r"\d{8}-\d{6}-")  # the beginning of the name of a run's folder


def name_path(path: str) -> str:
    """Returns a path in the working folder relative to it, and of any other path the last part.

    A file of a run keeps the name of the run before it.
    """
    inside = os.path.relpath(path)
    if not inside.startswith(os.pardir):
        return inside
    whole = Path(os.path.abspath(path))
    return f"{whole.parent.name}/{whole.name}" if RUN_NAME.match(whole.parent.name) else whole.name or "."


def name_url(url: str) -> str:
    """Returns an address without user, password, query and fragment, any of which may be a secret."""
    scheme, _, rest = re.fullmatch(r"(\w+://)?(.*@)?(.*)", url, re.DOTALL).groups("")  # type: ignore[union-attr]
    return scheme + re.split("[?#]", rest)[0]


def name_cluster(address: str) -> str | None:
    """Returns the keyword of a cluster; None for an address."""
    return address if address in ("auto", "local") else None
