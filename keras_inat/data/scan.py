"""The scan of a source: every file is fully decoded once, in parallel, and an interrupted scan resumes."""

import contextlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.data.chunk import THUMBNAIL, THUMBNAILS, Chunk, DecodedFile, decode_chunk, pixel_path
from keras_inat.data.source import Source
from keras_inat.files import read_jsonl
from keras_inat.progress import track_progress
from keras_inat.workers import map_unordered

# Limits of one chunk: enough files to be worth sending to a worker, few enough to decode again after an interruption.
CHUNK = 64
CHUNK_BYTES = 4 << 20
JOURNAL = "journal.jsonl"


@dataclass
class Scan:
    """The result of a scan, in the order of `Source.files`."""

    hashes: np.ndarray  # `(files, 32)` uint8, the SHA-256 of the contents; zero if they could not be read
    readable: np.ndarray  # `(files,)` bool, True if the file could be decoded
    reasons: dict[int, str] = field(default_factory=dict)  # by the number of a file that could not be decoded
    formats: Counter[str] = field(default_factory=Counter)  # the number of readable files by format
    traits: Counter[str] = field(default_factory=Counter)  # likewise by trait, as in `decode.Decoded`

    def add(self, start: int, records: Iterable[Sequence]) -> None:
        """Adds the records of consecutive files, beginning with file number `start`."""
        for number, record in enumerate(map(DecodedFile._make, records), start):
            if record.sha256:
                self.hashes[number] = np.frombuffer(bytes.fromhex(record.sha256), np.uint8)
            if record.reason:
                self.reasons[number] = record.reason
            else:
                self.readable[number] = True
                self.formats[record.format] += 1
                self.traits.update(record.traits)

    def count_reasons(self) -> dict[str, int]:
        """Returns the number of quarantined files by kind of reason, the most frequent first."""
        return dict(Counter(reason.split(" (")[0] for reason in self.reasons.values()).most_common())


def scan_files(source: Source, sizes: Sequence[int], directory: Path) -> Scan:
    """Decodes every file of a source, resuming an interrupted scan in `directory`.

    The folder receives the pixels of every size and the thumbnails, synced to disk, and the journal, which lets the
    next call resume. The first of `sizes`, in pixels, is the input size of the model, as in `decode`.
    """
    count = len(source.files)
    scan = Scan(np.zeros((count, 32), np.uint8), np.zeros(count, bool))
    sides = {pixel_path(directory, sizes[0], size): size for size in sizes} | {directory / THUMBNAILS: THUMBNAIL}
    lengths = {path: count * side * side * 3 for path, side in sides.items()}
    finished = _resume(directory, [source.key, list(sizes)], lengths)
    for start, records in finished.items():
        scan.add(start, records)
    for path, length in lengths.items():
        with open(path, "ab") as file:
            file.truncate(length)  # The file is sparse: unwritten pixels take no space.
    files = [(file.path, source.place(file).count("/") > 2) for file in source.files]
    chunks = [
        Chunk(source.path, source.key, start, files[start:stop], sizes, directory)
        for start, stop in itertools.pairwise(_cut([file.num_bytes for file in source.files]))
        if start not in finished
    ]
    num_done = sum(map(len, finished.values()))
    with (
        open(directory / JOURNAL, "a", encoding="utf-8") as journal,
        contextlib.closing(map_unordered(decode_chunk, chunks)) as results,
        ThreadPoolExecutor(1) as pool,
        track_progress(f"decoding {source.name}", count, "images", completed=num_done) as advance,
    ):
        syncing = pool.submit(_sync, sides)
        for start, chunk in results:
            journal.write(json.dumps([start, chunk]) + "\n")
            journal.flush()
            scan.add(start, chunk)
            advance(len(chunk))
            if syncing.done() and not syncing.exception():
                syncing = pool.submit(_sync, sides)  # in the background, so that the last sync is short
        syncing.result()  # The system reports a failed write only once, so an error is raised here.
    _sync(sides)
    return scan


def _cut(sizes: Sequence[int]) -> list[int]:
    """Returns the chunk boundaries: at most `CHUNK` files and `CHUNK_BYTES` bytes; a larger file gets its own chunk."""
    starts = [0]
    num_bytes = 0
    for number, size in enumerate(sizes):
        if number > starts[-1] and (number - starts[-1] == CHUNK or num_bytes + size > CHUNK_BYTES):
            starts.append(number)
            num_bytes = 0
        num_bytes += size
    return [*starts, len(sizes)]


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _resume(directory: Path, header: list, lengths: Mapping[Path, int]) -> dict[int, list]:
    """Returns the finished chunks on disk by their first file, with their records.

    Written pixels survive a killed process, but not necessarily a crash of the system. Therefore the first line of the
    journal holds the boot id of the system beside the source and the sizes. Anything that does not match is removed.
    """
    with contextlib.suppress(OSError):
        header = [*header, Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    journal = directory / JOURNAL
    with contextlib.suppress(OSError, ValueError, TypeError):
        first, *rest = list[Any](read_jsonl(journal))
        if first == header and all(path.stat().st_size == length for path, length in lengths.items()):
            return dict(rest)
    journal.unlink(missing_ok=True)  # before the pixels that it describes
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    journal.write_text(json.dumps(header) + "\n", encoding="utf-8")
    return {}
