"""Benchmark of indexing: all work for a file except decoding, on files that do not exist."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import fft

from keras_inat.data import index
from keras_inat.data.dataset import open_data
from keras_inat.data.duplicates import find_pairs
from keras_inat.data.packs import Pack
from keras_inat.data.scan import CHUNK, THUMBNAIL, THUMBNAILS, DecodedFile, pixel_path
from keras_inat.data.source import ImageFile, Source
from keras_inat.settings.schema import Augment, Config
from keras_inat.store.records import Manifest, Origins, Preparation, TableSettings

NUM_CLASSES = 10
# One file in so many is a test image.
TEST_EVERY = 6
# One file in so many is a duplicate of its predecessor.
DUPLICATE_EVERY = 100
# Thumbnails that are drawn at once.
BLOCK = 2**14
# The amplitude of the lowest frequency of a thumbnail, in gray levels.
CONTRAST = 500
CONFIG = Config(augment=Augment(crop=1))


class SyntheticSource(Source):
    """A source of files that do not exist."""

    def __init__(self, count: int) -> None:  # does not read the disk
        self.path = Path("synthetic")
        self.name = "synthetic"
        self.origins = Origins(test="val/")
        self.table = TableSettings()
        self.classes = tuple(f"class{number}" for number in range(NUM_CLASSES))
        self.files = sorted(map(_describe_file, range(count)))


def time_indexing(count: int, directory: Path) -> Iterator[tuple[str, float]]:
    """Indexes `count` readable files. Yields the name and the seconds of each phase."""
    records = _prepare(count, directory)
    clock = _Clock()
    source = SyntheticSource(count)
    assert source.key
    yield "list the files", clock.lap()
    decoded = []
    for start in range(0, count, CHUNK):
        decoded += [DecodedFile(*record) for record in json.loads(json.dumps(records[start : start + CHUNK]))]
    yield "record hashes and formats", clock.lap()
    pairs = find_pairs(source, decoded, directory, Preparation())
    index.write_index(source, source.files, decoded, pairs, directory, Preparation(), CONFIG.data)
    yield "find duplicates and write the index", clock.lap()
    pack = Pack(directory, Manifest.read(directory / "manifest.json"))
    yield "read the manifest", clock.lap()
    data = open_data(CONFIG, pack)
    assert len(data.images) == len(data.labels)
    yield "open the pack and split", clock.lap()


def _prepare(count: int, directory: Path) -> list[DecodedFile]:
    """Writes the pixels and returns the records that a scan of the files would give."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    with open(directory / THUMBNAILS, "wb") as file:
        for start in range(0, count, BLOCK):
            file.write(_draw_thumbnails(rng, min(BLOCK, count - start)))
    size = CONFIG.data.image_size
    with open(pixel_path(directory, size, size), "wb") as file:
        file.truncate(count * size * size * 3)  # a sparse file in place of the pixels
    hashes = rng.integers(256, size=(count, 32), dtype=np.uint8)
    copies = hashes[1::DUPLICATE_EVERY]
    copies[:] = hashes[: len(copies) * DUPLICATE_EVERY : DUPLICATE_EVERY]
    return [DecodedFile(sha256.tobytes().hex(), "JPEG", (), "") for sha256 in hashes]


def _draw_thumbnails(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns random gray images whose amplitudes fall with the frequency, as in photographs."""
    amplitudes = CONTRAST / (1 + np.hypot(*np.indices((THUMBNAIL, THUMBNAIL), np.float32)))
    waves = rng.standard_normal((count, THUMBNAIL, THUMBNAIL), np.float32) * amplitudes
    gray = (128 + fft.idctn(waves, axes=(1, 2), norm="ortho")).clip(0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)


def _describe_file(number: int) -> ImageFile:
    class_name = f"class{number % NUM_CLASSES}"
    is_test = number // NUM_CLASSES % TEST_EVERY == 0
    split = "test" if is_test else "train"
    folder = "val" if is_test else "train"
    return ImageFile(split, class_name, f"{folder}/{class_name}/{number:08}.jpg", number, f"{number}")


class _Clock:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Returns the seconds since the last call."""
        now = time.perf_counter()
        seconds = now - self._last
        self._last = now
        return seconds
