"""Peers of a comparison, which another process imports."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path


def record_process(folder: Path) -> Iterator[tuple[list[int], list[int]]]:
    """Writes down its process and if TensorFlow is loaded there. Yields batches of four images."""
    (folder / "process.txt").write_text(f"{os.getpid()} {'tensorflow' in sys.modules}")
    while True:
        yield [0] * 4, [0] * 4


def exit_at_once() -> Iterator[None]:
    """Ends its process."""
    os._exit(3)
