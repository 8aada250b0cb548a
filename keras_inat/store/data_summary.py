"""Typed records about a data set: its classes, image counts, skipped files and duplicates."""

from keras_inat.store.stored import Stored


class SkippedFile(Stored):
    """A file that is not used.

    Attributes:
        path: The path relative to the source.
        reason: A phrase that follows "it", such as "is not an image".
    """

    path: str
    reason: str


class DuplicatePair(Stored):
    """Two files that show the same picture.

    Attributes:
        path: The second file, relative to the source.
        of: The first file.
        similarity: Correlation of the two thumbnails; 1 for identical contents.
        mirrored: True if one is the mirror image of the other.
        same_class: True if both lie in folders of the same class.
        rows: Indices of `of` and `path` among all files; the test files come first.
    """

    path: str
    of: str
    similarity: float
    mirrored: bool
    same_class: bool
    rows: tuple[int, int]


class DuplicateCounts(Stored):
    """Numbers of pairs of duplicates, by kind."""

    identical: int
    near: int
    mirrored: int
    of_another_class: int
    train_and_test: int


class SplitCounts(Stored):
    """Numbers of images or files, by split."""

    train: int
    test: int


class ImageCounts(SplitCounts):
    """Numbers of images after the validation images were split from the training images."""

    validation: int


class ClassCounts(Stored):
    """Numbers of usable images of each class, by split."""

    train: tuple[int, ...]
    test: tuple[int, ...]


class Manifest(Stored):
    """The summary of a pack: its images, classes, skipped files and duplicates.

    Attributes:
        name: Name of the data set, taken from its folder or archive.
        source: Absolute path of the folder or archive.
        near_duplicates: True if images that only look the same count as duplicates.
        hash: Hash of the contents, classes and splits of the usable images.
        classes: Sorted class names.
        files: Number of files by split, usable or not.
        counts: Number of usable images by split.
        per_class: Number of usable images by split and class.
        formats: Number of files by image format.
        traits: Number of files by unusual trait, such as "CMYK".
        reasons: Number of quarantined files by reason.
        num_quarantined: Number of files that cannot be decoded.
        num_leaked: Number of training images that are duplicates of a test image.
        num_duplicates: Number of duplicate pairs.
        quarantined: Files that cannot be decoded. `scan.json` lists all, a summary the first ones.
        leaked: Training images that are duplicates of a test image, listed likewise.
        duplicates: Duplicate pairs, listed likewise.
    """

    name: str
    source: str
    near_duplicates: bool
    hash: str
    classes: tuple[str, ...]
    files: SplitCounts
    counts: SplitCounts
    per_class: ClassCounts
    formats: dict[str, int]
    traits: dict[str, int]
    reasons: dict[str, int]
    num_quarantined: int
    num_leaked: int
    num_duplicates: DuplicateCounts
    quarantined: tuple[SkippedFile, ...] = ()
    leaked: tuple[SkippedFile, ...] = ()
    duplicates: tuple[DuplicatePair, ...] = ()


class DataSummary(Manifest):
    """The data of a run: the pack's manifest, the image size and the counts after the validation split.

    Attributes:
        counts: Training, validation and test images.
        image_size: Side in pixels of the model's input images.
    """

    counts: ImageCounts
    image_size: int
