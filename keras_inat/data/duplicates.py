"""Copies of one image among many: identical files, and those resized, recompressed, mirrored or brightened.

Each image is reduced to 16 x 16 grey pixels less their neighbourhood's mean, at unit length: what is left of it when
brightness, contrast and fine detail are taken away. Two images are copies when these correlate by at least
`SIMILARITY`, one of them mirrored or not. Candidates come from locality-sensitive hashing (Charikar 2002, "Similarity
estimation techniques from rounding algorithms") of the middle frequencies, so that time grows with the number of
images, not with that of pairs.
"""

from collections.abc import Iterator

import numpy as np
from scipy import fft, ndimage, sparse

from keras_inat.data.chunk import THUMBNAIL

# Of 1,000 copies of photographs of 64 pixels, mirrored, shrunk to as little as 40 % and recompressed at qualities from
# 95 down to 20, 999 stayed above 0.9; pairs of different pictures reached 0.86.
SIMILARITY = 0.9
# Root mean square of the local contrast, in grey levels, under which an image shows too little to be compared.
MIN_CONTRAST = 1.5
MOST_NEAR = 0.9999  # 1 is for identical files
NUM_TABLES = 24
# In a table an image is compared with so many of those of the same code. Larger clusters hang together by their links.
NUM_NEIGHBOURS = 3
CHUNK = 16384
# Mean size of a middle frequency in photographs: planes through it part them evenly.
TYPICAL = 0.08
_FREQUENCY = np.hypot(*np.indices((THUMBNAIL, THUMBNAIL)))
_MIDDLE = (_FREQUENCY >= 3) & (_FREQUENCY < 8.5)
# One pair: row numbers with `first` < `second`; correlation (1 for identical files); whether one is mirrored.
PAIR = np.dtype([("first", np.int64), ("second", np.int64), ("similarity", np.float32), ("mirrored", np.bool_)])


def find_duplicates(thumbnails: np.ndarray, hashes: np.ndarray, rows: np.ndarray, near: bool = True) -> np.ndarray:
    """Finds the pairs of images that are copies of each other.

    Args:
        thumbnails: `(images, 16, 16, 3)` uint8; a memory map will do.
        hashes: `(images, 32)` uint8, of the files' contents.
        rows: `(n,)` int64, sorted, the images to look at.
        near: Whether to look for more than identical files.

    Returns:
        `(pairs,)` of `PAIR`, sorted. Of a cluster enough pairs to hold it together, not every pair.
    """
    contents = np.ascontiguousarray(hashes[rows]).view("V32").ravel()
    _, firsts, inverse = np.unique(contents, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(firsts[inverse] != np.arange(len(rows)))
    identical = np.zeros(len(repeated), PAIR)
    identical["first"], identical["second"] = rows[firsts[inverse[repeated]]], rows[repeated]
    identical["similarity"] = 1
    others = [_find_near(thumbnails, rows[np.sort(firsts)])] if near else []
    return np.sort(np.concatenate([identical, *others]), order=["first", "second"])


def group_duplicates(count: int, pairs: np.ndarray) -> np.ndarray:
    """`(count,)` int32: the number of the group that each of `count` images belongs to; most are alone in theirs."""
    links = sparse.coo_array((np.ones(len(pairs), bool), (pairs["first"], pairs["second"])), shape=(count, count))
    return sparse.csgraph.connected_components(links, directed=False)[1]


def _find_near(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    sketches = np.empty((len(rows), int(_MIDDLE.sum())), np.float32)
    plain = np.empty(len(rows), bool)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        features = _describe(thumbnails[rows[part]])
        spectrum = fft.dctn(features, axes=(1, 2), norm="ortho")
        # A mirrored image has its odd horizontal frequencies negated.
        spectrum[:, :, 1::2] = np.abs(spectrum[:, :, 1::2]) - TYPICAL
        sketches[part] = spectrum[:, _MIDDLE]
        plain[part] = ~features.any(axis=(1, 2))
    rows, sketches = rows[~plain], sketches[~plain]
    found = [np.zeros(0, PAIR)]
    for first, second in _list_candidates(sketches):
        pairs = np.zeros(len(first), PAIR)
        pairs["first"], pairs["second"] = rows[first], rows[second]
        features, others = _describe(thumbnails[pairs["first"]]), _describe(thumbnails[pairs["second"]])
        straight, mirrored = (np.einsum("nij,nij->n", features, other) for other in (others, others[:, :, ::-1]))
        pairs["similarity"] = np.minimum(np.maximum(straight, mirrored), MOST_NEAR)
        pairs["mirrored"] = mirrored > straight
        found.append(pairs[pairs["similarity"] >= SIMILARITY])
    return np.concatenate(found)


def _describe(images: np.ndarray) -> np.ndarray:
    """`(n, 16, 16)` float32 of unit length; zero where the image shows too little."""
    grey = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    local = grey - ndimage.uniform_filter(grey, (0, 5, 5))
    local -= local.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt(np.square(local).sum(axis=(1, 2), keepdims=True))
    return np.where(length >= MIN_CONTRAST * THUMBNAIL, local / np.maximum(length, 1e-6), 0)


def _list_candidates(sketches: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows that fall on the same side of every plane of a table, in parts of a bounded size."""
    if len(sketches) < 2:
        return
    # Hence few of different pictures agree by chance, whatever their number.
    num_bits = max(8, int(np.ceil(np.log2(len(sketches)))) + 2)
    rng = np.random.default_rng(0)
    weights = 2.0 ** np.arange(num_bits)
    keys = np.zeros(0, np.int64)
    for _ in range(NUM_TABLES):
        planes = rng.normal(size=(sketches.shape[1], num_bits)).astype(np.float32)
        codes = (sketches @ planes > 0).astype(np.float64) @ weights
        order = np.argsort(codes, kind="stable")
        for step in range(1, NUM_NEIGHBOURS + 1):
            same = np.flatnonzero(codes[order[step:]] == codes[order[:-step]])
            one, other = order[same], order[same + step]
            # Verified only where the sketches are near already: 0.9 of correlation is 0.45 of distance.
            near = _measure(sketches, one, other) <= np.sqrt(2 - 2 * SIMILARITY)
            one, other = one[near], other[near]
            keys = np.sort(np.concatenate([keys, np.minimum(one, other) * len(sketches) + np.maximum(one, other)]))
            keys = keys[np.diff(keys, prepend=-1) > 0]
    for start in range(0, len(keys), CHUNK):
        yield np.divmod(keys[start : start + CHUNK], len(sketches))


def _measure(points: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    parts = [slice(start, start + CHUNK) for start in range(0, len(one), CHUNK)]
    return np.concatenate(
        [np.linalg.norm(points[one[part]] - points[other[part]], axis=1) for part in parts] or [np.zeros(0)]
    )
