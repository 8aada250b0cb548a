"""The images of a run: opened once with its configuration, split for validation, with the test images sealed."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inat.data.pack import Pack
from keras_inat.data.packs import load_pack
from keras_inat.settings.schema import Config
from keras_inat.store.data_summary import DataSummary
from keras_inat.store.runs import RunFolder


class TestSet(NamedTuple):
    """The test images.

    Attributes:
        images: `(files, size, size, 3)` uint8, mapped from disk, quarantined files included.
        labels: `(files,)` int64, indices into the classes.
        rows: `(images,)` int64, the indices of the files that hold a usable image.
        paths: The path of each file.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    paths: list[str]


@dataclass(frozen=True)
class Dataset:
    """The images of a run, made by `open_data`.

    Rows are indices into `images`, `training_images` and `labels`. Those three also have an entry for every file of
    `train/` that is not used; no row points to it.

    Attributes:
        config: The configuration that the images were opened with.
        pack: The decoded pixels on disk.
        images: `(files, size, size, 3)` uint8, mapped from disk, at the size of the model's input.
        training_images: The same files, larger if the augmentation crops or rotates them.
        labels: `(files,)` int64, indices into `classes`.
        training_rows: Sorted int64 indices of the training images.
        validation_rows: Sorted int64 indices of the validation images.
        summary: The description of the data that a result records.
    """

    config: Config
    pack: Pack
    images: np.ndarray
    training_images: np.ndarray
    labels: np.ndarray
    training_rows: np.ndarray
    validation_rows: np.ndarray
    summary: DataSummary

    @property
    def classes(self) -> tuple[str, ...]:
        """The sorted class names."""
        return self.summary.classes

    @property
    def hash(self) -> str:
        """The hash of the contents, classes and splits of the images."""
        return self.summary.hash

    @property
    def directory(self) -> Path:
        """The folder of the decoded pixels. Files derived from them may be cached there."""
        return self.pack.directory

    def open_test(self, run: RunFolder) -> TestSet:
        """Opens the test images for the final evaluation of a run, which is recorded in the ledger first.

        Raises:
            PermissionError: The run belongs to a command that selects by its results, such as a sweep.
        """
        return TestSet(*self.pack.read_test(self.config, run))

    def read_duplicates(self, test: TestSet, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads some of the near-duplicates: first pairs across train and test, then the others.

        Args:
            test: The opened test images.
            count: The maximum number of pairs. At most half of them are pairs across train and test.

        Returns:
            `(pairs,)` int64, indices into `summary.duplicates`, and their pixels `(pairs, 2, size, size, 3)` uint8.
        """
        return self.pack.show_duplicates(test.images, count)


def open_data(config: Config) -> Dataset:
    """Opens the images that `data.source` names, decoding them first if that was not done before.

    Raises:
        UserError: The source is missing, has a class with too few usable images, or the disk is full.
    """
    pack = load_pack(config)
    training_rows, validation_rows = pack.split(config)
    return Dataset(
        config=config,
        pack=pack,
        images=pack.train_images,
        training_images=pack.training_images(config),
        labels=pack.train_labels,
        training_rows=training_rows,
        validation_rows=validation_rows,
        summary=pack.describe(config),
    )
