"""The images of a run: opened once with its configuration, split for validation, with the test images sealed."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inat.data.packs import Pack, list_sizes, load_pack
from keras_inat.data.scan import pixel_path
from keras_inat.data.split import split_validation
from keras_inat.errors import UserError
from keras_inat.files import read_text
from keras_inat.settings.schema import Config
from keras_inat.store.ledger import Record, open_test_images
from keras_inat.store.records import DataSummary, SplitCounts
from keras_inat.store.runs import RunFolder


class TestSet(NamedTuple):
    """The test images."""

    images: np.ndarray  # `(files, size, size, 3)` uint8, mapped from disk, quarantined files included
    labels: np.ndarray  # `(files,)` int64, indices into the classes
    rows: np.ndarray  # `(images,)` int64, the indices of the files that hold a usable image
    paths: list[str]  # the path of each file


@dataclass(frozen=True)
class Dataset:
    """The images of a run, made by `open_data`.

    The arrays have one entry for each file that is not a test image. Quarantined, leaked and excluded files have an
    entry too, but no row. All files are open, so that a run survives the removal of its pack by the command
    `clean-packs`.
    """

    config: Config  # the configuration that the images were opened with
    directory: Path  # the folder of the decoded pixels. Files derived from them may be cached there
    summary: DataSummary  # the description of the data that a result records
    images: np.ndarray  # `(files, size, size, 3)` uint8, mapped from disk, at the size of the model's input
    training_images: np.ndarray  # the same images, larger if the augmentation crops or rotates them
    labels: np.ndarray  # `(files,)` int64, indices into `classes`
    training_rows: np.ndarray  # sorted int64 indices of the training images
    validation_rows: np.ndarray  # sorted int64 indices of the validation images
    groups: np.ndarray  # `(files,)` int64, equal for duplicates
    paths: list[str]  # the path of each file in the source
    files_hash: str  # the hash of the contents of all files of the pack, in order
    _test: TestSet = field(repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The sorted class names."""
        return self.summary.classes

    @property
    def hash(self) -> str:
        """The hash of the contents, classes and splits of the images."""
        return self.summary.hash

    def open_test(self, run: RunFolder, record: Record | None = None) -> TestSet:
        """Opens the test images for the final evaluation of a run, as `open_test_images` does."""
        return open_test_images(self.config, run, self.hash, lambda: self._test, record)

    def read_duplicates(self, test: TestSet, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads some of the near-duplicates: first pairs across train and test, then the others.

        Returns at most `count` indices into `summary.duplicates`, `(pairs,)` int64, at most half of them across train
        and test, and their pixels, `(pairs, 2, size, size, 3)` uint8.
        """
        num_test = len(test.images)
        across: list[int] = []
        others: list[int] = []
        for index, pair in enumerate(self.summary.duplicates):
            if pair.similarity < 1:
                first, second = pair.rows
                (across if first < num_test <= second else others).append(index)
        chosen = (across[: count // 2] + others)[:count]
        pixels = np.empty((len(chosen), 2, *self.images.shape[1:]), np.uint8)
        for number, index in enumerate(chosen):
            for side, row in enumerate(self.summary.duplicates[index].rows):
                pixels[number, side] = test.images[row] if row < num_test else self.images[row - num_test]
        return np.array(chosen, np.int64), pixels


def open_data(config: Config, pack: Pack | None = None) -> Dataset:
    """Opens a pack, by default that of `data.source`, and splits its usable training images.

    Validation images that the data set itself gives are used as they are.

    Raises:
        UserError: The images cannot be used, a class has too few of them, or the disk is full.
    """
    directory, manifest, _, excluded = pack or load_pack(config)
    paths = json.loads(read_text(directory / "paths.json"))
    num_test = manifest.files.test  # The test files come first.
    with np.load(directory / "index.npz") as index:
        labels = index["labels"].astype(np.int64)
        used = index["used"]
        is_validation = index["validation"][num_test:]
        groups = index["representative"]
        hashes = index["hashes"]
        files_hash = hashlib.sha256(hashes).hexdigest()
        group_hashes = hashes[groups]
    used[excluded] = False
    pixels = []
    for size in list_sizes(config):
        path = pixel_path(directory, config.data.image_size, size, config.data.fit)
        pixels.append(np.memmap(path, np.uint8, "r", shape=(len(paths), size, size, 3)))
    rows = np.flatnonzero(used[num_test:])
    if manifest.origins.validation:
        training, validation = (rows[is_validation[rows] == side] for side in (False, True))
    else:
        contents = [content.tobytes().hex() for content in group_hashes[num_test:][rows]]
        sides = split_validation(labels[num_test:][rows], contents, config.data.val_fraction, config.data.split_seed)
        training, validation = (rows[side] for side in sides)
    for chosen, purpose in ((training, "training"), (validation, "validation")):
        num_images = np.bincount(labels[num_test:][chosen], minlength=len(manifest.classes))
        if not num_images.all():
            excluded_too = " or excluded" if len(excluded) else ""
            raise UserError(
                f"the class {manifest.classes[num_images.argmin()]!r} has no image for {purpose}: its images are "
                f"duplicates of one another or of another class{excluded_too}. Add other images, or remove the class"
            )
    counts = SplitCounts(train=len(training), validation=len(validation), test=manifest.counts.test)
    fields = dict(manifest) | {
        "counts": counts,
        "image_size": config.data.image_size,
        "fit": config.data.fit,
        "validation_hash": _hash_contents(hashes[num_test:][validation]),
    }
    return Dataset(
        config=config,
        directory=directory,
        summary=DataSummary(**fields),
        images=pixels[0][num_test:],
        training_images=pixels[-1][num_test:],
        labels=labels[num_test:],
        training_rows=training,
        validation_rows=validation,
        groups=groups[num_test:],
        paths=paths[num_test:],
        files_hash=files_hash,
        _test=TestSet(pixels[0][:num_test], labels[:num_test], np.flatnonzero(used[:num_test]), paths[:num_test]),
    )


def _hash_contents(hashes: np.ndarray) -> str:
    """Returns a hash of some images that does not depend on their order, given the hash of each."""
    contents = sorted(content.tobytes().hex() for content in hashes)
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16]
