"""The decoded pixels of a data set in a folder on disk, served from memory maps."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inat.data.chunk import pixel_path
from keras_inat.settings.schema import Config
from keras_inat.store.ledger import open_test_images
from keras_inat.store.records import DuplicatePair, Manifest
from keras_inat.store.runs import RunFolder


class TestSet(NamedTuple):
    """The test images."""

    images: np.ndarray  # `(files, size, size, 3)` uint8, mapped from disk, quarantined files included
    labels: np.ndarray  # `(files,)` int64, indices into the classes
    rows: np.ndarray  # `(images,)` int64, the indices of the files that hold a usable image
    paths: list[str]  # the path of each file


@dataclass(frozen=True)
class Pack:
    """An opened pack, made by `open_pack`.

    The arrays have one entry for each file of `train/`. All files are open, so that a run survives the removal of its
    pack by `make clean-packs`."""

    directory: Path  # the folder of the pack
    manifest: Manifest  # the name, hash, classes and image counts
    # `(files, size, size, 3)` uint8 at the size of the model's input. They are zero for quarantined files.
    images: np.ndarray
    training_images: np.ndarray  # the same images at the size that training reads, which may be larger
    labels: np.ndarray  # `(files,)` int64, indices into the classes
    used: np.ndarray  # `(files,)` bool, False for quarantined and leaked files
    group_hashes: np.ndarray  # `(files, 32)` uint8, equal for duplicates
    _test: TestSet = field(repr=False)

    @property
    def hash(self) -> str:
        """The hash of the contents, classes and splits of the images."""
        return self.manifest.hash

    def open_test(self, config: Config, run: RunFolder) -> TestSet:
        """Opens the test images for the final evaluation of a run, which is recorded in the ledger first.

        Raises:
            PermissionError: The run belongs to a command that selects by its results, such as a sweep.
        """
        return open_test_images(config, run, self.hash, lambda: self._test)

    def read_duplicates(self, test: TestSet, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads some of the near-duplicates: first pairs across train and test, then the others.

        Args:
            test: The opened test images.
            count: The maximum number of pairs. At most half of them are pairs across train and test.

        Returns:
            `(pairs,)` int64, indices into `manifest.duplicates`, and their pixels `(pairs, 2, size, size, 3)` uint8.
        """
        num_test = len(test.images)

        def is_across(pair: DuplicatePair) -> bool:
            return pair.rows[0] < num_test <= pair.rows[1]

        def read(row: int) -> np.ndarray:
            return test.images[row] if row < num_test else self.images[row - num_test]

        pairs = self.manifest.duplicates
        near = [index for index, pair in enumerate(pairs) if pair.similarity < 1]
        across = [index for index in near if is_across(pairs[index])]
        others = [index for index in near if not is_across(pairs[index])]
        chosen = (across[: count // 2] + others)[:count]
        pixels = [[read(row) for row in pairs[index].rows] for index in chosen]
        shape = (len(chosen), 2, *self.images.shape[1:])
        return np.array(chosen, np.int64), np.array(pixels, np.uint8).reshape(shape)


def open_pack(directory: Path, image_size: int, training_size: int) -> Pack:
    """Opens a pack.

    The folder holds the pixels of every file at each size, as `pixel_path` names them; `thumbnails.uint8`; `index.npz`,
    the labels and duplicates; `paths.json`; `scan.json`, the manifest with all skipped files; and `manifest.json`.

    Args:
        directory: The folder of the pack.
        image_size: Side in pixels of the model's input images.
        training_size: Side in pixels of the images that training reads.

    Raises:
        OSError: A file is missing.
        ValueError: A file is damaged.
    """
    manifest = Manifest.read(directory / "manifest.json")
    paths = json.loads((directory / "paths.json").read_text(encoding="utf-8"))
    num_test = manifest.files.test  # The test files come first.
    with np.load(directory / "index.npz") as index:
        labels = index["labels"].astype(np.int64)
        used = index["used"]
        group_hashes = index["hashes"][index["representative"]]
    images = _map_pixels(directory, image_size, image_size, len(paths))
    larger = images if training_size == image_size else _map_pixels(directory, image_size, training_size, len(paths))
    return Pack(
        directory=directory,
        manifest=manifest,
        images=images[num_test:],
        training_images=larger[num_test:],
        labels=labels[num_test:],
        used=used[num_test:],
        group_hashes=group_hashes[num_test:],
        _test=TestSet(images[:num_test], labels[:num_test], np.flatnonzero(used[:num_test]), paths[:num_test]),
    )


def _map_pixels(directory: Path, image_size: int, size: int, num_files: int) -> np.ndarray:
    path = pixel_path(directory, image_size, size)
    return np.memmap(path, np.uint8, "r", shape=(num_files, size, size, 3))
