"""Arrays that a run keeps for the report: its test predictions, some validation images and some pairs of duplicates."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from keras_inat.files import check_regular, write_atomically
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder

# Reading a damaged file of arrays raises many classes, from a lack of memory to an error in the syntax of a header.
DAMAGED = Exception
NO_ROWS = np.empty(0, np.int64)


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[Any]:
    """Opens a `.npz` file as an `NpzFile`. Raises an `OSError` for a pipe, which would be read without end.

    A damaged file is another error. NumPy itself compares no checksum if a damaged header makes an array smaller.
    """
    check_regular(path)
    with open(path, "rb") as file, np.load(file) as arrays:
        if member := arrays.zip.testzip():
            raise ValueError(f"{path} is damaged at {member}")
        yield arrays


def hash_arrays(arrays: Sequence[np.ndarray]) -> str:
    """Returns the SHA-256 of the shapes, types and values of arrays, such as the weights of a model."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class StoredArrays:
    """Arrays that are stored in a compressed `.npz` file."""

    def write(self, path: Path) -> None:
        """Writes the arrays, whole or not at all."""
        with write_atomically(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Reads the arrays. Returns None if the file is missing or damaged."""
        with contextlib.suppress(DAMAGED), open_arrays(path) as arrays:
            return cls(**arrays)
        return None

    @classmethod
    def read_unchanged(cls, run: RunFolder, result: Result, path: Path) -> Self | None:
        """Reads arrays that a finished run has written. Returns None if the file is missing, damaged or changed."""
        return cls.read(path) if run.is_unchanged(result, path) else None


@dataclass(frozen=True)
class Predictions(StoredArrays):
    """The predictions of a run on the test images, `test_predictions.npz`."""

    probabilities: np.ndarray  # `(images, classes)` float32
    labels: np.ndarray  # `(images,)` int64
    files: np.ndarray  # `(images,)` str, the path of each image
    examples: np.ndarray  # `(30,)` int64, rows chosen at random before the outcome was known
    pixels: np.ndarray  # `(30, size, size, 3)` uint8, the images of these rows
    errors: np.ndarray  # `(12,)` int64, the misclassified images with the highest confidence
    error_pixels: np.ndarray  # `(12, size, size, 3)` uint8, the images of these rows
    flipped: np.ndarray  # `(images, classes)` float32, of the flipped images; no rows without test-time augmentation
    origin: np.ndarray  # `()` str, the hashes of the weights that predicted, and of the images
    duplicates_hash: np.ndarray  # `()` str, the SHA-256 of `duplicates.npz`; empty if there is none

    @property
    def predicted(self) -> np.ndarray:
        """`(images,)` int64, the predicted class of each image."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """`(images,)` bool."""
        return self.predicted == self.labels

    @property
    def images(self) -> list[tuple[str, int]]:
        """`<Class>/<file>` and the label of each image, without the folders that an archive may have."""
        names = ["/".join(str(file).split("/")[-2:]) for file in self.files]
        return list(zip(names, self.labels.tolist(), strict=True))

    def is_consistent(self, num_classes: int) -> bool:
        """Returns True if the arrays fit one another and the number of classes."""
        total = len(self.labels)
        all_rows = np.arange(total)
        return (
            total > 0
            and self.probabilities.shape == (total, num_classes)
            and len(self.files) == total
            and bool(np.isin(self.labels, np.arange(num_classes)).all())
            and bool(np.isin(self.examples, all_rows).all())
            and bool(np.isin(self.errors, all_rows).all())
            and len(self.pixels) == len(self.examples) > 0
            and len(self.error_pixels) == len(self.errors)
            and self.flipped.shape in ((0, num_classes), (total, num_classes))
        )

    def select(self, rows: np.ndarray) -> "Predictions":
        """Returns the predictions of some images, without examples and errors."""
        return Predictions(
            probabilities=self.probabilities[rows],
            labels=self.labels[rows],
            files=self.files[rows],
            examples=NO_ROWS,
            pixels=NO_ROWS,
            errors=NO_ROWS,
            error_pixels=NO_ROWS,
            flipped=self.flipped[:0],
            origin=self.origin,
            duplicates_hash=self.duplicates_hash,
        )

    def show_errors(self) -> "Predictions":
        """Returns the same predictions with the highest-confidence errors as examples."""
        return replace(self, examples=self.errors, pixels=self.error_pixels)


def read_test_predictions(run: RunFolder, result: Result) -> Predictions | None:
    """Reads the predictions of a finished run. Returns None if the file is missing, damaged or changed."""
    predictions = Predictions.read_unchanged(run, result, run.predictions)
    return predictions if predictions and predictions.is_consistent(len(result.data.classes)) else None


@dataclass(frozen=True)
class ValidationSample(StoredArrays):
    """Random validation images, `validation_sample.npz`."""

    pixels: np.ndarray  # `(images, size, size, 3)` uint8
    labels: np.ndarray  # `(images,)` int64


@dataclass(frozen=True)
class TrainingSample(StoredArrays):
    """Training images and augmented versions of the first ones, `training_sample.npz`. They may be scaled down."""

    pixels: np.ndarray  # `(images, side, side, 3)` uint8, of as many classes as possible
    labels: np.ndarray  # `(images,)` int64
    versions: np.ndarray  # `(versions, fewer images, side, side, 3)` uint8, as the training takes them

    def is_consistent(self, num_classes: int) -> bool:
        """Returns True if the arrays fit one another and the number of classes."""
        return (
            self.pixels.ndim == 4
            and self.versions.ndim == 5
            and len(self.labels) == len(self.pixels) >= self.versions.shape[1]
            and bool(np.isin(self.labels, np.arange(num_classes)).all())
        )


@dataclass(frozen=True)
class DuplicatePictures(StoredArrays):
    """The pixels of some near-duplicates, `duplicates.npz`."""

    pairs: np.ndarray  # `(pairs,)` int64, positions in `DataSummary.duplicates`
    pixels: np.ndarray  # `(pairs, 2, size, size, 3)` uint8


@dataclass(frozen=True)
class SuspectPictures(StoredArrays):
    """The pixels of the first label suspects, `suspects.npz`."""

    pixels: np.ndarray  # `(suspects, size, size, 3)` uint8
