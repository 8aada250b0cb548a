"""Decoded pixels: every image is opened once, then served from a memory map."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_inat.data.augment import needs_margin
from keras_inat.data.chunk import pixel_path
from keras_inat.data.decode import stored_size
from keras_inat.data.split import split_validation
from keras_inat.errors import UserError
from keras_inat.settings.schema import Config
from keras_inat.store.data_summary import DataSummary, DuplicatePair, ImageCounts, Manifest
from keras_inat.store.ledger import open_test_images
from keras_inat.store.runs import RunFolder


@dataclass(frozen=True)
class Pack:
    """The pixels of a data set and what is known of its files, in a folder.

    The folder holds `<size>.uint8`, the pixels of every file at that size; `thumbnails.uint8`; `index.npz`, an entry a
    file; `paths.json`; `scan.json`, what was found; and `manifest.json`, a summary, last to be written.

    Attributes:
        directory: The folder.
        image_size: Side in pixels of what the model sees.
        manifest: Name, hash, classes and counts.
    """

    directory: Path
    image_size: int
    manifest: Manifest

    def __post_init__(self) -> None:
        # What is opened outlives its removal by `make clean-packs`: a run that began with it can end with it.
        _ = self._index, self._paths, self._images

    @property
    def classes(self) -> list[str]:
        return list(self.manifest.classes)

    @property
    def hash(self) -> str:
        return self.manifest.hash

    @functools.cached_property
    def train_labels(self) -> np.ndarray:
        """`(files,)` int64, an index into `classes`, also of files that were left out."""
        return self._index["labels"][self._num_test :].astype(np.int64)

    @functools.cached_property
    def train_images(self) -> np.ndarray:
        """`(files, size, size, 3)` uint8, mapped from the disk, at the size that the model sees."""
        return self._images[self._num_test :]

    def training_images(self, config: Config) -> np.ndarray:
        """`train_images`, or, where augmentation moves them, larger ones with room for that."""
        size = training_size(config)
        return self._map(size)[self._num_test :]

    def split(self, config: Config) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the training and the validation images, as `data.val_fraction` and `data.split_seed` say.

        Returns:
            Sorted int64 row numbers into `train_images`; what was left out is in neither.

        Raises:
            UserError: When a class cannot give an image to either.
        """
        used = np.flatnonzero(self._index["used"][self._num_test :])
        # Copies go by the name of one of them, and so to one side.
        first = self._index["representative"][self._num_test :][used]
        names = [content.tobytes().hex() for content in self._index["hashes"][first]]
        parts = split_validation(self.train_labels[used], names, config.data.val_fraction, config.data.split_seed)
        for part, purpose in zip(parts, ("is left to train on", "can be held out for validation"), strict=True):
            for label in np.flatnonzero(np.bincount(self.train_labels[used[part]], minlength=len(self.classes)) == 0):
                raise UserError(
                    f"no image of {self.classes[label]!r} {purpose}: its images are copies of one another, or of "
                    "another class's"
                )
        return used[parts[0]], used[parts[1]]

    def read_test(self, config: Config, run: RunFolder) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        """The test images, through the ledger, for a final evaluation only.

        Returns:
            Pixels `(files, size, size, 3)` uint8, labels `(files,)` int64, the rows that hold an image, int64, and the
            path of each row.
        """

        def read() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
            labels = self._index["labels"][: self._num_test].astype(np.int64)
            rows = np.flatnonzero(self._index["used"][: self._num_test])
            return self._images[: self._num_test], labels, rows, self._paths[: self._num_test]

        return open_test_images(config, run, self.hash, read)

    def show_duplicates(self, test_images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Some of the near copies that were found: first those that are in train and test, then the others.

        Args:
            test_images: What `read_test` gave.
            count: At most so many pairs; those across train and test take up at most half of them.

        Returns:
            `(pairs,)` int64, their numbers in the manifest's `copies`, and `(pairs, 2, size, size, 3)` uint8.
        """
        pairs = self.manifest.duplicates
        near = [number for number, pair in enumerate(pairs) if pair.similarity < 1]
        across = [number for number in near if self._crosses(pairs[number])]
        within = [number for number in near if not self._crosses(pairs[number])]
        chosen = (across[: count // 2] + within)[:count]
        images = [[self._read_row(row, test_images) for row in pairs[number].rows] for number in chosen]
        shape = (len(chosen), 2, self.image_size, self.image_size, 3)
        return np.array(chosen, np.int64), np.array(images, np.uint8).reshape(shape)

    def _crosses(self, pair: DuplicatePair) -> bool:
        return pair.rows[0] < self._num_test <= pair.rows[1]

    def _read_row(self, row: int, test_images: np.ndarray) -> np.ndarray:
        return test_images[row] if row < self._num_test else self.train_images[row - self._num_test]

    def describe(self, config: Config) -> DataSummary:
        """Returns what a result records about its data."""
        training, validation = self.split(config)
        counts = ImageCounts(train=len(training), validation=len(validation), test=self.manifest.counts.test)
        fields = dict(self.manifest) | {"counts": counts, "image_size": self.image_size}
        return DataSummary(**fields)

    @functools.cached_property
    def _index(self) -> dict[str, np.ndarray]:
        with np.load(self.directory / "index.npz") as arrays:
            return dict(arrays)

    @functools.cached_property
    def _paths(self) -> list[str]:
        return json.loads((self.directory / "paths.json").read_text(encoding="utf-8"))

    @property
    def _num_test(self) -> int:
        return self.manifest.files.test  # they come first

    @property
    def _images(self) -> np.ndarray:
        return self._map(self.image_size)

    def _map(self, size: int) -> np.ndarray:
        if size not in self._maps:
            shape = (self.manifest.files.train + self.manifest.files.test, size, size, 3)
            self._maps[size] = np.memmap(pixel_path(self.directory, self.image_size, size), np.uint8, "r", shape=shape)
        return self._maps[size]

    @functools.cached_property
    def _maps(self) -> dict[int, np.ndarray]:
        return {}


def training_size(config: Config) -> int:
    """The side that pixels are stored at to train from: with room for what augmentation moves."""
    return stored_size(config.data.image_size) if needs_margin(config.augment) else config.data.image_size
