"""What is done for every file besides decoding it, timed on files that are only named."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import fft

from keras_inat.data import index
from keras_inat.data.chunk import THUMBNAIL, Record, pixel_path, thumbnail_path
from keras_inat.data.pack import Pack
from keras_inat.data.scan import CHUNK, Scan
from keras_inat.data.source import ImageFile, Source
from keras_inat.settings.schema import Config
from keras_inat.store.data_summary import Manifest

NUM_CLASSES = 10
TEST_EVERY = 6
BLOCK = 2**14
CONTRAST = 500


class NamedSource(Source):
    """Files that do not exist."""

    def __init__(self, count: int) -> None:  # looks for nothing on the disk
        self.path, self.name, self.home = Path("named"), "named", ""
        self.classes = tuple(f"class{number}" for number in range(NUM_CLASSES))
        self.files = sorted(map(_name, range(count)))


def time_bookkeeping(count: int, directory: Path) -> Iterator[tuple[str, float]]:
    """Gives each part of the work with its seconds: all files readable, one in a hundred a copy of another."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    with open(thumbnail_path(directory), "wb") as file:
        for start in range(0, count, BLOCK):
            file.write(_draw_thumbnails(rng, min(BLOCK, count - start)))
    os.link(thumbnail_path(directory), pixel_path(directory, THUMBNAIL, THUMBNAIL))  # stand for the pixels
    hashes = rng.integers(256, size=(count, 32), dtype=np.uint8)
    hashes[1::100] = hashes[: len(hashes[1::100]) * 100 : 100]
    records = [Record(content.tobytes().hex(), "JPEG", (), "") for content in hashes]

    clock = _Clock()
    source = NamedSource(count)
    assert source.key
    yield "name the files", clock.lap()
    scan = Scan(np.zeros((count, 32), np.uint8), np.zeros(count, bool))
    for start in range(0, count, CHUNK):
        scan.add(start, json.loads(json.dumps(records[start : start + CHUNK])))
    yield "take down what each is", clock.lap()
    index.write_index(source, scan, directory, near_duplicates=True)
    yield "find copies and write the index", clock.lap()
    pack = Pack(directory, THUMBNAIL, Manifest.read(directory / "manifest.json"))
    assert len(pack.train_images) == len(pack.train_labels)
    yield "open the pack", clock.lap()
    pack.split(Config())
    yield "split", clock.lap()


def _draw_thumbnails(rng: np.random.Generator, count: int) -> np.ndarray:
    """Clouds: random pictures with the spectrum of photographs, amplitudes that fall with the frequency."""
    amplitudes = CONTRAST / (1 + np.hypot(*np.indices((THUMBNAIL, THUMBNAIL), np.float32)))
    waves = rng.standard_normal((count, THUMBNAIL, THUMBNAIL), np.float32) * amplitudes
    grey = (128 + fft.idctn(waves, axes=(1, 2), norm="ortho")).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


class _Clock:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def _name(number: int) -> ImageFile:
    name = f"class{number % NUM_CLASSES}"
    split, folder = ("test", "val") if number // NUM_CLASSES % TEST_EVERY == 0 else ("train", "train")
    return ImageFile(split, name, f"{folder}/{name}/{number:08}.jpg", number, f"{number}")
