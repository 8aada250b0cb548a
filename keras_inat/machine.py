"""The memory that this process may use, of the machine or of its container."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# Linux mounts control groups here, and lists those of a process. Version 1 has a folder for each resource.
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
MEMORY_INFO = Path("/proc/meminfo")


def read_memory() -> int:
    """Returns the memory of this machine, or of its container, in bytes."""
    return min([_count_physical(), *(limit for limit, _ in _read_cgroups())])


def read_available_memory() -> int:
    """Returns the memory that nothing uses now, of this machine and of its container, in bytes."""
    free = _count_physical()
    with contextlib.suppress(OSError, KeyError, ValueError):
        free = 1024 * int(_read_table(MEMORY_INFO)["MemAvailable:"])
    return max(0, min([free, *(limit - used for limit, used in _read_cgroups())]))


def _count_physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_cgroups() -> Iterator[tuple[int, int]]:
    """Yields the limit and the use of memory of each control group that this process is in, without cached files."""
    for folder in _list_cgroups():
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            # A file is missing in the other version, and the text is "max" without a limit.
            with contextlib.suppress(OSError, ValueError):
                statistics = _read_table(folder / "memory.stat")
                cached = int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))
                yield int((folder / limit).read_text()), int((folder / usage).read_text()) - cached


def _list_cgroups() -> list[Path]:
    """Returns the folders of the control groups that may limit the memory: its own ones, and those that hold them."""
    folders = [CGROUPS, CGROUPS / "memory"]  # of a container that sees itself as the root
    with contextlib.suppress(OSError, ValueError):
        for line in OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root = {"": CGROUPS, "memory": CGROUPS / "memory"}.get(controllers)
            if root and path != "/":
                own = root / path.lstrip("/")
                folders += [own, *(parent for parent in own.parents if root in parent.parents)]
    return folders


def _read_table(path: Path) -> dict[str, str]:
    """Reads lines of a name, a value and perhaps a unit."""
    return {words[0]: words[1] for words in map(str.split, path.read_text().splitlines()) if len(words) > 1}
