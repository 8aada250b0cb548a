"""Every file of a source opened and fully decoded once: what it is, and its pixels at the sizes asked for."""

import contextlib
import itertools
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.data.chunk import THUMBNAIL, Record, Task, decode_chunk, pixel_path, thumbnail_path
from keras_inat.data.source import Source
from keras_inat.files import read_jsonl
from keras_inat.progress import track_progress
from keras_inat.workers import map_unordered

# What one task of a worker holds: enough files to be worth sending, few enough to lose when it is interrupted.
CHUNK, CHUNK_BYTES = 64, 4 << 20
SYNC_SECONDS = 1
JOURNAL = "journal.jsonl"


@dataclass
class Scan:
    """What the files of a source are, in the order of `Source.files`.

    Attributes:
        hashes: `(files, 32)` uint8, SHA-256 of the contents; zero where they could not be read.
        readable: `(files,)` bool: whether there are pixels.
        reasons: Of each file that is not readable, by its number, why.
        formats: How many readable files have which format.
        traits: How many have what else is not plain 8-bit RGB; see `decode.Decoded`.
    """

    hashes: np.ndarray
    readable: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)
    formats: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)

    def add(self, start: int, records: Iterable[Sequence]) -> None:
        """Takes over the records of consecutive files, from number `start` on."""
        for number, record in enumerate(map(Record._make, records), start):
            if record.sha256:
                self.hashes[number] = np.frombuffer(bytes.fromhex(record.sha256), np.uint8)
            if record.reason:
                self.reasons[number] = record.reason
            else:
                self.readable[number] = True
                self.formats[record.format] += 1
                self.traits.update(record.traits)

    def count_reasons(self) -> dict[str, int]:
        """How many files were left out for which kind of reason, the most frequent first."""
        return dict(Counter(reason.split(" (")[0] for reason in self.reasons.values()).most_common())


def scan_files(source: Source, sizes: Sequence[int], directory: Path) -> Scan:
    """Decodes every file into `directory`; what an interrupted call there left is gone on from.

    Args:
        source: Of the files.
        sizes: Sides in pixels: of what the model sees, then of whatever else is wanted; `decode` says how.
        directory: Gets `<size>.uint8` for every size and `thumbnails.uint8`, synced to the disk, and `journal.jsonl`,
            by which the next call goes on.

    Returns:
        What was found.

    Raises:
        OSError: When the disk is full, for one.
    """
    count = len(source.files)
    scan = Scan(np.zeros((count, 32), np.uint8), np.zeros(count, bool))
    sides = {pixel_path(directory, sizes[0], size): size for size in sizes} | {thumbnail_path(directory): THUMBNAIL}
    lengths = {path: count * side * side * 3 for path, side in sides.items()}
    done = _resume(directory, [source.key, list(sizes)], lengths)
    for start, records in done.items():
        scan.add(start, records)
    for path, length in lengths.items():
        with open(path, "ab") as file:
            file.truncate(length)  # sparse: what is not written takes no room
    files = [(file.path, source.place(file).count("/") > 2) for file in source.files]
    tasks = [
        Task(source.path, source.key, start, files[start:stop], sizes, directory)
        for start, stop in itertools.pairwise(_cut([file.num_bytes for file in source.files]))
        if start not in done
    ]
    num_done = len(scan.reasons) + int(scan.readable.sum())
    with (
        open(directory / JOURNAL, "a", encoding="utf-8") as journal,
        contextlib.closing(map_unordered(decode_chunk, tasks)) as results,
        _sync_meanwhile(sides),
        track_progress(f"decoding {source.name}", count, "images", completed=num_done) as advance,
    ):
        for start, chunk in results:
            journal.write(json.dumps([start, chunk]) + "\n")
            journal.flush()
            scan.add(start, chunk)
            advance(len(chunk))
    for path in sides:
        _sync(path)
    return scan


def _cut(sizes: Sequence[int]) -> list[int]:
    """Where chunks of at most `CHUNK` files begin, and of `CHUNK_BYTES` unless one file alone has more; and the end."""
    starts, held = [0], 0
    for number, size in enumerate(sizes):
        if number > starts[-1] and (number - starts[-1] == CHUNK or held + size > CHUNK_BYTES):
            starts.append(number)
            held = 0
        held += size
    return [*starts, len(sizes)]


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _sync_meanwhile(paths: Iterable[Path]) -> Iterator[None]:
    """Lets the disk write while workers decode, so that little is left to wait for at the end."""
    ended = threading.Event()

    def sync() -> None:
        while not ended.wait(SYNC_SECONDS):
            for path in paths:
                _sync(path)

    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(sync)
        try:
            yield
        finally:
            ended.set()
        syncing.result()  # raises what the disk reported, for it does so once


def _resume(directory: Path, wanted: list, lengths: Mapping[Path, int]) -> dict[int, list]:
    """The chunks that are on the disk already, with their records.

    Pixels that were written outlive a killed process, but perhaps not the system's end: the journal says under which
    start of the system it was written, and for what.
    """
    with contextlib.suppress(OSError):
        wanted = [*wanted, Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    journal = directory / JOURNAL
    with contextlib.suppress(OSError, ValueError, TypeError):
        first, *rest = list[Any](read_jsonl(journal))
        if first == wanted and all(path.stat().st_size == length for path, length in lengths.items()):
            return dict(rest)
    journal.unlink(missing_ok=True)  # before what it speaks of
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    journal.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    return {}
