"""Search for duplicates: identical files, and near-duplicates.

A near-duplicate is a version of an image that was resized, recompressed, mirrored, brightened, slightly cropped, or put
into a frame or between bars. Candidates come from the coarse structure of thumbnails. Each of them is verified: the
images are aligned and compared in detail, first the thumbnails, then the files themselves.
"""

from collections.abc import Callable, Container

import numpy as np
from scipy import sparse

from keras_inat.data.alignment import Comparison, Placement, compare, shrink
from keras_inat.data.candidates import expect_placement, find_candidates

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
            first, second = (shrink(image, side) for image in images)
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
