"""Search for duplicates: identical files, and near-duplicates.

A near-duplicate is a version of an image that was resized, recompressed, mirrored, brightened, slightly cropped, or put
into a frame or between bars. Candidates come from the coarse structure of thumbnails. Each of them is verified: the
images are aligned and compared in detail, first the thumbnails, then the files themselves.
"""

import csv
import functools
import io
from collections.abc import Callable, Container, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from keras_inat.data.alignment import Comparison, Placement, compare, shrink
from keras_inat.data.candidates import expect_placement, find_candidates
from keras_inat.data.decode import decode
from keras_inat.data.scan import THUMBNAIL, THUMBNAILS, DecodedFile, stack_hashes
from keras_inat.data.source import Source
from keras_inat.errors import ExternalError, UserError, shorten_error
from keras_inat.files import make_printable, read_regular
from keras_inat.settings.schema import Data
from keras_inat.store.records import Preparation

# The side in pixels of the images that are compared last: texts differ there. Files with fewer pixels are compared at
# their own size, because enlarged pixels show the noise of the compression instead of details.
FINE_SIDE = 160
MIN_FINE_SIDE = 80  # Below this, the thumbnails show as much.
MAX_NEAR_SIMILARITY = 0.9999  # 1 means identical files.
# A pair has row numbers with `first` < `second`, the correlation of the aligned images (1 for identical files), the
# cells that were compared and those that agree (0 for identical files), and if one image is mirrored.
PAIR_DTYPE = np.dtype(
    [
        ("first", np.int64),
        ("second", np.int64),
        ("similarity", np.float32),
        ("cells", np.int32),
        ("agreeing", np.int32),
        ("mirrored", np.bool_),
    ]
)


def find_pairs(
    source: Source,
    decoded: Sequence[DecodedFile],
    directory: Path,
    preparation: Preparation,
    near: bool = True,
    different: Container[frozenset[int]] = (),
) -> np.ndarray:
    """Returns the pairs of duplicates among the readable files of a source, of `PAIR_DTYPE`.

    With `near`, images that look the same count as duplicates, not only identical files, except the pairs of
    `find_different`.
    """
    rows = np.flatnonzero([not file.reason for file in decoded])
    thumbnails = np.memmap(directory / THUMBNAILS, np.uint8, "r", shape=(len(decoded), THUMBNAIL, THUMBNAIL, 3))
    read = functools.partial(_read_image, source, preparation.model_copy(update={"fit": "crop"}))
    return find_duplicates(thumbnails, stack_hashes(decoded), rows, near, read, different)


def find_different(source: Source, data: Data) -> set[frozenset[int]]:
    """Returns the pairs of numbers of files that `data.ignore_duplicates` calls different.

    Raises:
        UserError: The file cannot be read, or it names something else than pairs of files of the source.
    """
    ignored = read_ignored(data.ignore_duplicates)
    number_of = {file.path: number for number, file in enumerate(source.files)} if ignored else {}
    for path in sorted(frozenset().union(*ignored) - number_of.keys()):
        raise UserError(f"`data.ignore_duplicates` names {path!r}, which is not a file of {source.path}")
    return {frozenset(number_of[path] for path in pair) for pair in ignored}


def read_ignored(path: str | None) -> set[frozenset[str]]:
    """Reads the pairs of paths that are no duplicates: a CSV with two columns, as the report lists them.

    Raises:
        UserError: The file cannot be read, or a line is not a pair of paths.
    """
    if path is None:
        return set()
    try:
        text = read_regular(Path(path)).decode(errors="surrogateescape")
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except (OSError, csv.Error) as error:
        raise UserError(f"`data.ignore_duplicates`: cannot read {path!r} ({shorten_error(error)})") from None
    for line in lines:
        if len(line) != 2:
            raise UserError(
                f"`data.ignore_duplicates`: a line of {path!r} must be two paths. Received: {','.join(line)!r}."
            )
    return {frozenset(line) for line in lines}


def find_duplicates(
    thumbnails: np.ndarray,
    hashes: np.ndarray,
    rows: np.ndarray,
    near: bool = True,
    read: Callable[[int], np.ndarray] | None = None,
    different: Container[frozenset[int]] = (),
) -> np.ndarray:
    """Finds the pairs of identical files and, if `near`, of near-duplicates.

    Args:
        thumbnails: `(images, 64, 64, 3)` uint8, which may be a memory map.
        hashes: `(images, 32)` uint8, equal for identical files.
        rows: `(n,)` int64, the sorted numbers of the images to compare.
        near: True to search for near-duplicates as well.
        read: Returns an image by its number, uint8, with a side of 160 pixels, or less if the file has fewer. None
            compares the thumbnails only.
        different: Pairs of numbers that are no near-duplicates.

    Returns:
        `(pairs,)` of `PAIR_DTYPE`, sorted. A cluster gets enough pairs to connect it, not all of its pairs.
    """
    contents = np.ascontiguousarray(hashes[rows]).view("V32").ravel()
    _, firsts, inverse = np.unique(contents, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(firsts[inverse] != np.arange(len(rows)))
    identical = np.zeros(len(repeated), PAIR_DTYPE)
    identical["first"] = rows[firsts[inverse[repeated]]]
    identical["second"] = rows[repeated]
    identical["similarity"] = 1
    others = [_find_near(thumbnails, rows[np.sort(firsts)], read, different)] if near else []
    return np.sort(np.concatenate([identical, *others]), order=["first", "second"])


def group_duplicates(count: int, pairs: np.ndarray) -> np.ndarray:
    """Returns `(count,)` int32: the group of each image. An image without duplicates is its own group."""
    links = sparse.coo_array((np.ones(len(pairs), bool), (pairs["first"], pairs["second"])), shape=(count, count))
    return sparse.csgraph.connected_components(links, directed=False)[1]


def renumber_pairs(pairs: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Returns the pairs of images that have got new numbers, `(images,)` int64."""
    ends = numbers[[pairs["first"], pairs["second"]]]
    renumbered = pairs.copy()
    renumbered["first"] = ends.min(axis=0)
    renumbered["second"] = ends.max(axis=0)
    return np.sort(renumbered, order=["first", "second"])


def _read_image(source: Source, preparation: Preparation, number: int) -> np.ndarray:
    """Decodes a file again, at `FINE_SIDE` or, if it has fewer pixels, at the size of its shorter side."""
    file = source.files[number]
    try:
        decoded = decode(source.read(file), FINE_SIDE, preparation=preparation)
    except ValueError:
        raise ExternalError(f"{make_printable(file.path)} of {source.path} has changed: run it again") from None
    side = min(FINE_SIDE, decoded.side)
    return shrink(decoded.images[0], side, side)


def _find_near(
    thumbnails: np.ndarray,
    rows: np.ndarray,
    read: Callable[[int], np.ndarray] | None,
    different: Container[frozenset[int]],
) -> np.ndarray:
    candidates, boxes = find_candidates(thumbnails, rows)
    box_of = dict(zip(rows.tolist(), boxes, strict=True))
    parents: dict[int, int] = {}
    pairs = []
    for candidate in candidates:
        first = int(candidate["first"])
        second = int(candidate["second"])
        root = _find_root(parents, first)
        other = _find_root(parents, second)
        if root == other or frozenset((first, second)) in different:
            continue  # They are connected already, possibly through other images, or the user calls them different.
        mirrored = bool(candidate["mirrored"])
        expected = expect_placement(int(candidate["view"]), box_of[first], box_of[second], mirrored)
        found = _verify(thumbnails, read, (first, second), (box_of[first], box_of[second]), expected, mirrored)
        if found:
            parents[other] = root
            similarity = min(found.correlation, MAX_NEAR_SIMILARITY)
            numbers = sorted((first, second))
            pairs.append((*numbers, similarity, found.num_cells, found.num_agreeing, mirrored))
    return np.array(pairs, PAIR_DTYPE)


def _verify(
    thumbnails: np.ndarray,
    read: Callable[[int], np.ndarray] | None,
    numbers: tuple[int, int],
    boxes: tuple[np.ndarray, np.ndarray],
    expected: Placement,
    mirrored: bool,
) -> Comparison | None:
    """Returns the comparison of two images if they show the same picture."""
    if mirrored:
        top, left, bottom, right = boxes[1]
        boxes = (boxes[0], np.array([top, 1 - right, bottom, 1 - left]))
    found: Comparison | None = None
    for source in (thumbnails.__getitem__, read):
        if source is not None:
            images = [np.asarray(source(number)) for number in numbers]
            side = min(map(len, images))
            if found and side < MIN_FINE_SIDE:
                return found
            first, second = (shrink(image, side, side) for image in images)
            second = np.ascontiguousarray(second[:, ::-1]) if mirrored else second
            found = compare(first, second, boxes, found.placement if found else expected)
            if found is None or not found.is_same:
                return None
    return found


def _find_root(parents: dict[int, int], number: int) -> int:
    while (parent := parents.get(number, number)) != number:
        parents[number] = parents.get(parent, parent)
        number = parent
    return number
