"""The images of a run: opened once with its configuration, split for validation, with the test images sealed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_inat.data.pack import Pack, TestSet
from keras_inat.data.packs import load_pack
from keras_inat.data.split import split_validation
from keras_inat.errors import UserError
from keras_inat.settings.schema import Config
from keras_inat.store.records import DataSummary, ImageCounts
from keras_inat.store.runs import RunFolder


@dataclass(frozen=True)
class Dataset:
    """The images of a run, made by `open_data`.

    Rows are indices into `images`, `training_images` and `labels`, which have one entry for each file of `train/`.
    Quarantined and leaked files have an entry too, but no row."""

    config: Config  # the configuration that the images were opened with
    pack: Pack  # the decoded pixels on disk
    training_rows: np.ndarray  # sorted int64 indices of the training images
    validation_rows: np.ndarray  # sorted int64 indices of the validation images
    summary: DataSummary  # the description of the data that a result records

    @property
    def images(self) -> np.ndarray:
        """The images `(files, size, size, 3)` uint8, mapped from disk, at the size of the model's input."""
        return self.pack.images

    @property
    def training_images(self) -> np.ndarray:
        """The same images, larger if the augmentation crops or rotates them."""
        return self.pack.training_images

    @property
    def labels(self) -> np.ndarray:
        """The labels `(files,)` int64, indices into `classes`."""
        return self.pack.labels

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
        return self.pack.open_test(self.config, run)

    def read_duplicates(self, test: TestSet, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads at most `count` pairs of near-duplicates, as `Pack.read_duplicates` does."""
        return self.pack.read_duplicates(test, count)


def open_data(config: Config) -> Dataset:
    """Opens the images that `data.source` names. They are decoded first if that was not done before.

    Raises:
        UserError: The source is missing, has a class with too few usable images, or the disk is full.
    """
    pack = load_pack(config)
    training_rows, validation_rows = split_rows(pack, config)
    counts = ImageCounts(train=len(training_rows), validation=len(validation_rows), test=pack.manifest.counts.test)
    fields = dict(pack.manifest) | {"counts": counts, "image_size": config.data.image_size}
    return Dataset(config, pack, training_rows, validation_rows, DataSummary(**fields))


def split_rows(pack: Pack, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Splits the usable images of `train/` by `data.val_fraction` and `data.split_seed`.

    Returns:
        Sorted int64 rows of the training images and of the validation images.

    Raises:
        UserError: A class has no image for training or none for validation.
    """
    used = np.flatnonzero(pack.used)
    labels = pack.labels[used]
    groups = [content.tobytes().hex() for content in pack.group_hashes[used]]
    training, validation = split_validation(labels, groups, config.data.val_fraction, config.data.split_seed)
    for rows, purpose in ((training, "training"), (validation, "validation")):
        counts = np.bincount(labels[rows], minlength=len(pack.manifest.classes))
        if not counts.all():
            raise UserError(
                f"the class {pack.manifest.classes[counts.argmin()]!r} has no image for {purpose}: its images are "
                "duplicates of one another or of another class. Add other images, or remove the class"
            )
    return used[training], used[validation]
