"""Search for duplicates: identical files, and near-duplicates that were resized, recompressed, mirrored or brightened.

Each image is reduced to 16 x 16 gray pixels minus the mean of their neighborhood, scaled to unit length. These features
do not depend on brightness, contrast and fine detail. Two images are near-duplicates if their features correlate by at
least `MIN_SIMILARITY`, with or without mirroring one of them. Candidate pairs come from locality-sensitive hashing
(Charikar 2002, "Similarity estimation techniques from rounding algorithms") of the middle frequencies, so that the time
grows with the number of images, not with the number of pairs.
"""

from collections.abc import Iterator

import numpy as np
from scipy import fft, ndimage, sparse

from keras_inat.data.scan import THUMBNAIL

# Measured on 1,000 near-duplicates of photographs of 64 pixels, mirrored, scaled down to as little as 40 % and
# recompressed at qualities from 95 to 20: 999 had a similarity above 0.9. Different pictures reached 0.86.
MIN_SIMILARITY = 0.9
# Images whose local contrast has a smaller root mean square, in gray levels, are too plain to be compared.
MIN_CONTRAST = 1.5
MAX_NEAR_SIMILARITY = 0.9999  # 1 means identical files.
NUM_TABLES = 24
# In each table an image is compared with this many images of the same code. Larger clusters are connected by chains.
NUM_NEIGHBORS = 3
CHUNK = 16384
# Mean magnitude of a middle frequency in photographs. Subtracting it centers the absolute values for the hashing.
TYPICAL_MAGNITUDE = 0.08
_FREQUENCY = np.hypot(*np.indices((THUMBNAIL, THUMBNAIL)))
_MIDDLE = (_FREQUENCY >= 3) & (_FREQUENCY < 8.5)
# A pair has row numbers with `first` < `second`, the correlation (1 for identical files), and if one is mirrored.
PAIR_DTYPE = np.dtype([("first", np.int64), ("second", np.int64), ("similarity", np.float32), ("mirrored", np.bool_)])


def find_duplicates(thumbnails: np.ndarray, hashes: np.ndarray, rows: np.ndarray, near: bool = True) -> np.ndarray:
    """Finds the pairs of identical files and, if `near`, of near-duplicates.

    Args:
        thumbnails: `(images, 16, 16, 3)` uint8, which may be a memory map.
        hashes: `(images, 32)` uint8, equal for identical files.
        rows: `(n,)` int64, the sorted numbers of the images to compare.

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
    others = [_find_near(thumbnails, rows[np.sort(firsts)])] if near else []
    return np.sort(np.concatenate([identical, *others]), order=["first", "second"])


def group_duplicates(count: int, pairs: np.ndarray) -> np.ndarray:
    """Returns `(count,)` int32: the group of each image. An image without duplicates is its own group."""
    links = sparse.coo_array((np.ones(len(pairs), bool), (pairs["first"], pairs["second"])), shape=(count, count))
    return sparse.csgraph.connected_components(links, directed=False)[1]


def _find_near(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    sketches = np.empty((len(rows), int(_MIDDLE.sum())), np.float32)
    plain = np.empty(len(rows), bool)
    for start in range(0, len(rows), CHUNK):
        block = slice(start, start + CHUNK)
        features = _compute_features(thumbnails[rows[block]])
        spectrum = fft.dctn(features, axes=(1, 2), norm="ortho")
        # Mirroring an image negates its odd horizontal frequencies.
        spectrum[:, :, 1::2] = np.abs(spectrum[:, :, 1::2]) - TYPICAL_MAGNITUDE
        sketches[block] = spectrum[:, _MIDDLE]
        plain[block] = ~features.any(axis=(1, 2))
    rows = rows[~plain]
    sketches = sketches[~plain]
    found = [np.zeros(0, PAIR_DTYPE)]
    for first, second in _list_candidates(sketches):
        pairs = np.zeros(len(first), PAIR_DTYPE)
        pairs["first"] = rows[first]
        pairs["second"] = rows[second]
        features = _compute_features(thumbnails[pairs["first"]])
        others = _compute_features(thumbnails[pairs["second"]])
        upright = np.einsum("nij,nij->n", features, others)
        mirrored = np.einsum("nij,nij->n", features, others[:, :, ::-1])
        pairs["similarity"] = np.minimum(np.maximum(upright, mirrored), MAX_NEAR_SIMILARITY)
        pairs["mirrored"] = mirrored > upright
        found.append(pairs[pairs["similarity"] >= MIN_SIMILARITY])
    return np.concatenate(found)


def _compute_features(images: np.ndarray) -> np.ndarray:
    """Returns `(n, 16, 16)` float32 features of unit length, or zero for plain images."""
    gray = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    local = gray - ndimage.uniform_filter(gray, (0, 5, 5))
    local -= local.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt(np.square(local).sum(axis=(1, 2), keepdims=True))
    return np.where(length >= MIN_CONTRAST * THUMBNAIL, local / np.maximum(length, 1e-6), 0)


def _list_candidates(sketches: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of rows that are on the same side of every hyperplane of a table, at most `CHUNK` pairs at once."""
    if len(sketches) < 2:
        return
    # With this many bits few different pictures agree by chance, whatever their number.
    num_bits = max(8, int(np.ceil(np.log2(len(sketches)))) + 2)
    rng = np.random.default_rng(0)
    weights = 2.0 ** np.arange(num_bits)
    keys = np.zeros(0, np.int64)
    for _ in range(NUM_TABLES):
        planes = rng.normal(size=(sketches.shape[1], num_bits)).astype(np.float32)
        codes = (sketches @ planes > 0).astype(np.float64) @ weights
        order = np.argsort(codes, kind="stable")
        found = [keys]
        for step in range(1, NUM_NEIGHBORS + 1):
            same = np.flatnonzero(codes[order[step:]] == codes[order[:-step]])
            for block in np.array_split(same, len(same) // CHUNK + 1):
                one = order[block]
                other = order[block + step]
                # For unit vectors, a correlation of 0.9 is a distance of 0.45. Sketches are sections of such vectors.
                near = np.linalg.norm(sketches[one] - sketches[other], axis=1) <= np.sqrt(2 - 2 * MIN_SIMILARITY)
                found.append((np.minimum(one, other) * len(sketches) + np.maximum(one, other))[near])
        keys = np.unique(np.concatenate(found))
    for start in range(0, len(keys), CHUNK):
        yield np.divmod(keys[start : start + CHUNK], len(sketches))
