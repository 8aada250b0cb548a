"""A few files decoded by a worker, their pixels written to where they belong. Imports little: a worker waits for it."""

import contextlib
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keras_inat.data.decode import decode
from keras_inat.data.reader import Reader

# Side of the thumbnails by which copies are found.
THUMBNAIL = 16
NESTED = "lies in a folder within the folder of its class"


class Record(NamedTuple):
    """What one file is. Of one that was left out, only `reason`, and `sha256` where it could be read."""

    sha256: str
    format: str
    traits: Sequence[str]
    reason: str


class Task(NamedTuple):
    """Consecutive files to decode, `start` being the number of the first."""

    source: Path
    key: str
    start: int
    files: Sequence[tuple[str, bool]]  # their paths, and whether they lie too deep
    sizes: Sequence[int]
    directory: Path


def pixel_path(directory: Path, image_size: int, size: int) -> Path:
    """Where pixels are: `(files, size, size, 3)` uint8, zero where a file was left out.

    Named by all that decides them: their size, and, where it is another, that of the model they are stored for.
    """
    return directory / (f"{size}.uint8" if size == image_size else f"{image_size}-at-{size}.uint8")


def thumbnail_path(directory: Path) -> Path:
    """Where the thumbnails are that copies are found by: `(files, 16, 16, 3)` uint8."""
    return directory / "thumbnails.uint8"


def decode_chunk(task: Task) -> tuple[int, list[Record]]:
    """Decodes consecutive files, writes their pixels to where they belong, gives their records."""
    reader = _open_reader(task.source, task.key)
    records = []
    with contextlib.ExitStack() as stack:
        paths = [
            *(pixel_path(task.directory, task.sizes[0], size) for size in task.sizes),
            thumbnail_path(task.directory),
        ]
        files = [stack.enter_context(open(path, "r+b")) for path in paths]
        for number, (name, nested) in enumerate(task.files, task.start):
            sha256 = ""
            try:
                if nested:
                    raise ValueError(NESTED)
                content = reader.read(name)
                sha256 = hashlib.sha256(content).hexdigest()
                decoded = decode(content, task.sizes[0], (*task.sizes[1:], THUMBNAIL))
            except ValueError as error:
                records.append(Record(sha256, "", (), str(error)))
                continue
            for file, image in zip(files, decoded.images, strict=True):
                file.seek(number * image.nbytes)
                file.write(image)
            records.append(Record(sha256, decoded.format, decoded.traits, ""))
    return task.start, records


@functools.lru_cache(maxsize=1)
def _open_reader(path: Path, key: str) -> Reader:
    """A worker opens an archive once; `key` tells another version of it."""
    return Reader(path)
