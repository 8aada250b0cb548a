"""What is known of a set of images."""

from keras_inat.store.stored import Stored


class SkippedFile(Stored):
    """A file that is not used.

    Attributes:
        path: Relative to the source.
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
        mirrored: Whether one is the mirror image of the other.
        same_class: Whether both lie in folders of the same class.
        rows: Their positions among all files, test images first.
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
    """Numbers of images, with the validation images apart from the training images."""

    validation: int


class ClassCounts(Stored):
    """Numbers of usable images of each class, by split."""

    train: tuple[int, ...]
    test: tuple[int, ...]


class Manifest(Stored):
    """The summary of a pack: its images, classes, skipped files and duplicates.

    Attributes:
        version: Of the format of the pack.
        name: Of the data set, from its folder or archive.
        source: Absolute path of the folder or archive.
        near_duplicates: Whether images that merely look the same count as duplicates.
        hash: Of the contents of the images in use, with their classes and splits.
        classes: Sorted class names.
        files: Files by split, usable or not.
        counts: Usable images by split.
        per_class: The same for each class.
        formats: Files by image format.
        traits: Files by unusual trait, such as "CMYK".
        reasons: Skipped files by reason.
        num_quarantined: Files that could not be decoded.
        num_leaked: Training images that show a test image.
        num_duplicates: Pairs of duplicates.
        quarantined: The first files that could not be decoded.
        leaked: The first training images that show a test image.
        duplicates: The first pairs of duplicates.
    """

    version: int
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
        image_size: Side in pixels of the images that the model sees.
    """

    counts: ImageCounts
    image_size: int
