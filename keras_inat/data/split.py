"""The split of images into training, validation and test images, where the data set has none."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_inat.errors import UserError
from keras_inat.files import write_text
from keras_inat.log import warn
from keras_inat.store.checksums import check_lines, sign_lines

TEST_SEED = "test"  # not a setting: the test images are the same for every run


def split_validation(
    labels: np.ndarray, hashes: Sequence[str], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits the training images into training and validation, stratified by class.

    The side of an image depends on its content and the seed, not on its name or the order of files. Therefore images
    with equal hashes stay on one side, and adding images changes the side of few others.

    Args:
        labels: `(images,)` int, the class of each image.
        hashes: One hash per image, equal for duplicates.
        fraction: The fraction of each class to hold out. A class of two or more images gives at least one.

    Returns:
        Sorted int64 indices of the training images and of the validation images.
    """
    validation = _hold_out(labels, hashes, fraction, seed, num_kept=1, sides={})
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def split_test(
    labels: np.ndarray, hashes: Sequence[str], contents: Sequence[str], fraction: float, record: Path
) -> np.ndarray:
    """Returns the sorted int64 indices of the test images, stratified by class, and writes down the side of each image.

    As in `split_validation`, the side depends on the content. An image that `record` lists keeps its side. Therefore
    test images remain test images when images are added, and training images remain training images unless they turn
    out to be duplicates of a test image.

    Args:
        labels: `(images,)` int, the class of each image.
        hashes: One hash per image, equal for duplicates.
        contents: The hash of each image's own content.
        fraction: The fraction of each class to hold out.
        record: A CSV file with the columns `sha256` and `split`, created or extended. Its last line has a checksum,
            which depends on the fraction.

    Raises:
        UserError: The record is damaged, or has another fraction.
    """
    recorded = _read_record(record, fraction)
    if recorded and recorded.keys().isdisjoint(contents):
        warn(f"{record} lists none of the images, so it may be that of another data set")
    sides: dict[str, bool] = {}
    for group, content in zip(hashes, contents, strict=True):
        if content in recorded:
            sides[group] = sides.get(group, False) or recorded[content] == "test"
    # At least two images remain, one for training and one for validation.
    test = _hold_out(labels, hashes, fraction, TEST_SEED, num_kept=2, sides=sides)
    is_test = np.isin(np.arange(len(labels)), test)
    found = {content: "test" if side else "train" for content, side in zip(contents, is_test.tolist(), strict=True)}
    if found.items() - recorded.items():
        rows = [("sha256", "split"), *sorted((recorded | found).items())]
        write_text(record, sign_lines("".join(f"{content},{side}\n" for content, side in rows), subject=str(fraction)))
    return test


def _read_record(path: Path, fraction: float) -> dict[str, str]:
    try:
        lines = check_lines(path, subject=str(fraction)).splitlines()
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{error}: restore it, as its test images could become training images") from None
    return {row["sha256"]: row["split"] for row in csv.DictReader(lines)}


def _hold_out(
    labels: np.ndarray,
    hashes: Sequence[str],
    fraction: float,
    seed: int | str,
    num_kept: int,
    sides: Mapping[str, bool],
) -> np.ndarray:
    """Returns the sorted indices of the images to hold out.

    At least `num_kept` different images of each class are not held out, unless `sides` says so: it holds True for the
    hashes that are held out in any case, and False for those that are not.
    """
    # Duplicates may have different labels. All of them are ranked in the class of the first.
    class_of: dict[str, int] = {}
    groups: dict[int, dict[str, list[int]]] = {}
    for index, (label, content) in enumerate(zip(labels.tolist(), hashes, strict=True)):
        label = class_of.setdefault(content, label)
        groups.setdefault(label, {}).setdefault(content, []).append(index)
    held: list[int] = []
    for members in groups.values():
        chosen = [content for content in members if sides.get(content)]
        wanted = max(1, round(fraction * sum(map(len, members.values()))))
        wanted -= sum(len(members[content]) for content in chosen)
        ranked = sorted(
            (content for content in members if content not in sides),
            key=lambda content: hashlib.sha256(f"{seed}:{content}".encode()).digest(),
        )
        num_fixed = len(members) - len(chosen) - len(ranked)
        free = ranked[: max(0, len(ranked) + num_fixed - num_kept)]
        for content in free:
            # A large group of duplicates could exceed the requested fraction.
            if len(members[content]) <= wanted:
                chosen.append(content)
                wanted -= len(members[content])
        if not chosen and free:
            chosen = [min(ranked, key=lambda content: len(members[content]))]
        held += (index for content in chosen for index in members[content])
    return np.array(sorted(held), dtype=np.int64)
