"""A chunk of consecutive files that a worker decodes, and whose pixels it writes to disk.

Workers import this module when they start, so it imports little.
"""

import contextlib
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keras_inat.data.archive import Reader
from keras_inat.data.decode import decode

# Duplicates are searched in thumbnails of this side in pixels. This file holds `(files, 16, 16, 3)` uint8.
THUMBNAIL = 16
THUMBNAILS = "thumbnails.uint8"


class DecodedFile(NamedTuple):
    """The result for one file. A quarantined file has a `reason`, and a `sha256` if it could be read."""

    sha256: str
    format: str
    traits: Sequence[str]
    reason: str


class Chunk(NamedTuple):
    """Consecutive files to decode."""

    source: Path  # the folder or archive
    key: str  # `Source.key`, the version of the source
    start: int  # the number of the first file
    files: Sequence[tuple[str, bool]]  # their paths in the source, and True if in a subfolder of the class folder
    sizes: Sequence[int]  # sides in pixels, the size of the model's input first
    directory: Path  # the folder of the pixels


def pixel_path(directory: Path, image_size: int, size: int) -> Path:
    """Returns the path of the pixels `(files, size, size, 3)` uint8, which are zero for quarantined files.

    The name holds the size and, if it differs, the input size of the model. The decoder depends on both.
    """
    return directory / (f"{size}.uint8" if size == image_size else f"{image_size}-at-{size}.uint8")


def decode_chunk(chunk: Chunk) -> tuple[int, list[DecodedFile]]:
    """Decodes the files of a chunk and writes their pixels. Returns the number of the first file, and the records."""
    reader = _open_reader(chunk.source, chunk.key)
    paths = [pixel_path(chunk.directory, chunk.sizes[0], size) for size in chunk.sizes]
    records = []
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "r+b")) for path in (*paths, chunk.directory / THUMBNAILS)]
        for number, (name, nested) in enumerate(chunk.files, chunk.start):
            sha256 = ""
            try:
                if nested:
                    raise ValueError("is in a subfolder of its class folder")
                content = reader.read(name)
                sha256 = hashlib.sha256(content).hexdigest()
                decoded = decode(content, chunk.sizes[0], (*chunk.sizes[1:], THUMBNAIL))
            except ValueError as error:
                records.append(DecodedFile(sha256, "", (), str(error)))
                continue
            for file, image in zip(files, decoded.images, strict=True):
                file.seek(number * image.nbytes)
                file.write(image)
            records.append(DecodedFile(sha256, decoded.format, decoded.traits, ""))
    return chunk.start, records


@functools.lru_cache(maxsize=1)
def _open_reader(path: Path, key: str) -> Reader:
    """Opens a source once per worker. A changed source has another `key`."""
    return Reader(path)
