"""Typed records about a data set: its classes, image counts, skipped files and duplicates."""

from keras_inat.store.stored import Stored


class SkippedFile(Stored):
    """A file that is not used."""

    path: str  # the path relative to the source
    reason: str  # a phrase that follows "it", such as "is not an image"


class DuplicatePair(Stored):
    """Two files that show the same picture."""

    path: str  # the second file, relative to the source
    of: str  # the first file
    similarity: float  # correlation of the two thumbnails; 1 for identical contents
    mirrored: bool  # true if one is the mirror image of the other
    same_class: bool  # true if both lie in folders of the same class
    rows: tuple[int, int]  # indices of `of` and `path` among all files; the test files come first


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
    """The summary of a pack: its images, classes, skipped files and duplicates."""

    name: str  # name of the data set, taken from its folder or archive
    source: str  # absolute path of the folder or archive
    near_duplicates: bool  # true if images that only look the same count as duplicates
    hash: str  # hash of the contents, classes and splits of the usable images
    classes: tuple[str, ...]  # sorted class names
    files: SplitCounts  # number of files by split, usable or not
    counts: SplitCounts  # number of usable images by split
    per_class: ClassCounts  # number of usable images by split and class
    formats: dict[str, int]  # number of files by image format
    traits: dict[str, int]  # number of files by unusual trait, such as "CMYK"
    reasons: dict[str, int]  # number of quarantined files by reason
    num_quarantined: int  # number of files that cannot be decoded
    num_leaked: int  # number of training images that are duplicates of a test image
    num_duplicates: DuplicateCounts  # number of duplicate pairs
    # Files that cannot be decoded. `scan.json` lists all, a summary the first ones.
    quarantined: tuple[SkippedFile, ...] = ()
    leaked: tuple[SkippedFile, ...] = ()  # training images that are duplicates of a test image, listed likewise
    duplicates: tuple[DuplicatePair, ...] = ()  # duplicate pairs, listed likewise


class DataSummary(Manifest):
    """The data of a run: the pack's manifest, the image size and the counts after the validation split."""

    counts: ImageCounts  # training, validation and test images
    image_size: int  # side in pixels of the model's input images
