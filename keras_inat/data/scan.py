"""The scan of a source: every file is fully decoded once, in parallel, and an interrupted scan resumes."""

import contextlib
import functools
import hashlib
import json
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inat.data.archive import Reader
from keras_inat.data.decode import decode
from keras_inat.data.decoders import Decoders, limit_time
from keras_inat.data.ranges import DEEP, DEPTHS, FLOATING, choose_preparation, describe_ranges
from keras_inat.data.source import Source
from keras_inat.errors import explain_errors
from keras_inat.files import read_lines, remove, sync_file
from keras_inat.progress import track_progress
from keras_inat.settings.schema import Fit
from keras_inat.store.checksums import add_checksum, parse_record
from keras_inat.store.records import Preparation
from keras_inat.workers import list_cores, map_in_threads

# The files of one chunk: enough to be worth sending to a worker, few enough to decode again after an interruption.
CHUNK = 32
# With fewer chunks, starting several processes takes longer than it saves.
MIN_CHUNKS = 5
# The number of chunks in the queue per process. It keeps every process busy and the queue short.
NUM_QUEUED = 3
JOURNAL = "journal.jsonl"
# Duplicates are searched in thumbnails of this side in pixels. This file holds `(files, 64, 64, 3)` uint8.
THUMBNAIL = 64
THUMBNAILS = "thumbnails.uint8"
RANGED = (DEEP, FLOATING)  # traits of files whose range is found over the data set


class DecodedFile(NamedTuple):
    """The result for one file. A quarantined file has a `reason`, and a `sha256` if it could be read."""

    sha256: str
    format: str
    traits: Sequence[str]
    reason: str
    peak: float = 0.0  # as in `Decoded`
    checksum: int = 0  # CRC-32 of its pixels of every size; 0 for a quarantined file


class NumberedFile(NamedTuple):
    """A file with its number among `Source.files`, and its path in the source."""

    number: int
    path: str
    is_nested: bool  # as in `ImageFile`


def pixel_path(directory: Path, image_size: int, size: int, fit: str = "crop") -> Path:
    """Returns the path of the pixels `(files, size, size, 3)` uint8, which are zero for quarantined files.

    The name holds everything that the decoder depends on: the size, the input size of the model if it differs, and
    `data.fit` unless it is "crop".
    """
    prefix = "" if fit == "crop" else f"{fit}-"
    return directory / f"{prefix}{'' if size == image_size else f'{image_size}-at-'}{size}.uint8"


def stack_hashes(files: Sequence[DecodedFile]) -> np.ndarray:
    """Returns the hashes `(files, 32)` uint8, which are zero for files that could not be read."""
    digits = "".join(file.sha256 or "0" * 64 for file in files)
    return np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 32)


class Scan(NamedTuple):
    """The result for all files of a source."""

    files: list[DecodedFile]  # in the order of `Source.files`
    preparation: Preparation  # how the images were decoded
    ranges: list[str]  # a line for each kind of pixels whose range was found


def scan_files(
    source: Source, sizes: Sequence[int], directory: Path, fit: Fit = "crop", bit_depth: int | None = None
) -> Scan:
    """Decodes every file of a source. An interrupted scan in `directory` resumes.

    The folder receives the pixels of every size and the thumbnails, synced to disk, and the journal, which lets the
    next call resume. The first of `sizes`, in pixels, is the input size of the model, as in `decode`.

    Without `bit_depth`, 16-bit and floating-point images are decoded twice if their range, which all training images
    together show, is not the full one.
    """
    count = len(source.files)
    given = Preparation(fit=fit, bit_depth=bit_depth or DEPTHS[-1])
    sides = {pixel_path(directory, sizes[0], size, fit): size for size in sizes}
    sides[directory / THUMBNAILS] = THUMBNAIL
    lengths = {path: count * side * side * 3 for path, side in sides.items()}
    finished = _resume(directory, [source.key, CHUNK, list(sizes), given.model_dump()], lengths, count)
    for path, length in lengths.items():
        with explain_errors("write", path), open(path, "ab") as file:
            file.truncate(length)  # The file is sparse: unwritten pixels take no space.
    files = [NumberedFile(number, file.path, file.is_nested) for number, file in enumerate(source.files)]
    chunks = {start: files[start : start + CHUNK] for start in range(0, count, CHUNK)}
    remaining = [chunk for chunk in chunks.items() if chunk[0] not in finished]
    status = source.root.stat()
    key = f"{source.key} {status.st_ino} {status.st_mtime_ns}"
    work = functools.partial(decode_chunk, source.root.absolute(), key, sizes, directory.absolute())
    num_done = sum(map(len, finished.values()))
    with (
        open(directory / JOURNAL, "a", encoding="utf-8") as journal,
        contextlib.closing(_decode(functools.partial(work, given), remaining)) as results,
        track_progress(f"decoding {source.name}", count, "images", completed=num_done) as advance,
    ):
        for start, records in results:
            journal.write(json.dumps(add_checksum({"source": source.key, "start": start, "files": records})) + "\n")
            journal.flush()
            finished[start] = records
            advance(len(records))
    _sync(sides)
    decoded = [record for _, records in sorted(finished.items()) for record in records]
    training = [record for record, file in zip(decoded, source.files, strict=True) if file.split in ("train", None)]
    peaks = [[record.peak for record in training if trait in record.traits and record.peak] for trait in RANGED]
    preparation = choose_preparation(given, bit_depth is None, *peaks)
    if preparation != given:
        again = [
            (start, chunk)
            for start, chunk in chunks.items()
            if any(record.peak for record in decoded[start : start + CHUNK])
        ]
        with (
            contextlib.closing(_decode(functools.partial(work, preparation), again)) as results,
            track_progress(f"scaling {source.name}", sum(len(chunk) for _, chunk in again), "images") as advance,
        ):
            for _, records in results:
                advance(len(records))
        _sync(sides)
    return Scan(decoded, preparation, describe_ranges(preparation, *peaks))


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        sync_file(path)


def _resume(directory: Path, header: list, lengths: Mapping[Path, int], count: int) -> dict[int, list[DecodedFile]]:
    """Returns the finished chunks on disk by their first file, with their records.

    Written pixels survive a killed process, but not necessarily a crash of the system. Therefore the first line of the
    journal holds the boot id of the system beside the source and the sizes. Anything that does not match is removed. So
    are pixels that do not match their record. A chunk whose record is damaged does not count as finished.
    """
    with contextlib.suppress(OSError):
        header = [*header, Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    journal = directory / JOURNAL
    with contextlib.suppress(OSError, ValueError):
        first, *lines = read_lines(journal)
        is_own = first == json.dumps(header).encode()
        if is_own and all(path.stat().st_size == length for path, length in lengths.items()):
            pixels = [np.memmap(path, mode="r").reshape(count, -1) for path in lengths]
            return dict(_read_chunks(lines, header[0], pixels))
    remove(directory)  # what is there may be a file
    directory.mkdir(parents=True)
    journal.write_text(json.dumps(header) + "\n", encoding="utf-8")
    return {}


def _read_chunks(lines: Iterable[bytes], key: str, pixels: Sequence[np.ndarray]) -> Iterator[tuple[int, list]]:
    """Yields the chunks in lines of the journal of a source. Their pixels are on disk, of each size `(files, bytes)`.

    Raises a ValueError for other pixels.
    """
    for line in lines:
        try:
            chunk = parse_record(line)
        except ValueError:  # a damaged line, or one that a killed process left incomplete
            continue
        if chunk.get("source") != key:  # a line of another journal
            continue
        records = [DecodedFile(*record) for record in chunk["files"]]
        for number, record in enumerate(records, start=chunk["start"]):
            images = [file[number] for file in pixels]
            if any(map(np.any, images)) if record.reason else record.checksum != _hash(images):
                raise ValueError(f"the pixels of file {number} are damaged")
        yield chunk["start"], records


def _hash(images: Iterable[np.ndarray]) -> int:
    """Returns the CRC-32 of an image in every size."""
    return functools.reduce(lambda checksum, image: zlib.crc32(image, checksum), images, 0)


def _decode(
    work: Callable[[Sequence[NumberedFile], int], Iterator[DecodedFile | MemoryError]],
    chunks: Sequence[tuple[int, Sequence[NumberedFile]]],
) -> Generator[tuple[int, list[DecodedFile]]]:
    """Yields the number of the first file of each chunk and the records of its files, in the order of completion."""
    num_threads = len(list_cores()) if len(chunks) >= MIN_CHUNKS else 1
    decoders = Decoders(num_threads)

    def run(chunk: tuple[int, Sequence[NumberedFile]]) -> tuple[int, list[DecodedFile]]:
        start, files = chunk
        return start, decoders.decode(work, files, lambda _, reason: DecodedFile("", "", (), reason))

    yield from map_in_threads(
        run, chunks, NUM_QUEUED * num_threads, num_threads=num_threads, ordered=False, stop=decoders.close
    )


def decode_chunk(
    source: Path,
    key: str,
    sizes: Sequence[int],
    directory: Path,
    preparation: Preparation,
    files: Sequence[NumberedFile],
    memory: int,
) -> Iterator[DecodedFile | MemoryError]:
    """Decodes files of a folder or archive, writes their pixels and yields their records.

    `key` is another one if the source was changed or replaced. A file that takes more than `memory` bytes gives a
    `MemoryError`.
    """
    reader = _open_reader(source, key)
    paths = [pixel_path(directory, sizes[0], size, preparation.fit) for size in sizes]
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(open(path, "r+b")) for path in (*paths, directory / THUMBNAILS)]
        for file in files:
            sha256 = ""
            try:
                if file.is_nested:
                    raise ValueError("is in a subfolder of its class folder")
                content = reader.read(file.path)
                sha256 = hashlib.sha256(content).hexdigest()
                with limit_time():
                    decoded = decode(content, sizes[0], sizes[1:], preparation, THUMBNAIL, memory)
            except ValueError as error:
                yield DecodedFile(sha256, "", (), str(error))
            except MemoryError as error:
                yield error
            else:
                with explain_errors("write", directory):
                    for output, image in zip(outputs, decoded.images, strict=True):
                        output.seek(file.number * image.nbytes)
                        output.write(image)
                        output.flush()
                yield DecodedFile(sha256, decoded.format, decoded.traits, "", decoded.peak, _hash(decoded.images))


@functools.lru_cache(maxsize=1)
def _open_reader(path: Path, key: str) -> Reader:
    """Opens a source once per worker. A changed or replaced source has another `key`."""
    return Reader(path)
