"""Candidates for near-duplicates: pairs of images whose coarse structure is similar.

Each image is described by several views: the picture within its frame, two smaller squares at its center, which match a
cropped copy, and the whole image. A view is a vector of middle frequencies, normalized, so that brightness and contrast
have no influence. Similar vectors are found by locality-sensitive hashing (Charikar 2002, "Similarity estimation
techniques from rounding algorithms"), so that the time grows with the number of images, not with the number of pairs.
"""

import functools

import cv2
import numpy as np
from scipy import fft

from keras_inat.data.alignment import Placement
from keras_inat.data.scan import THUMBNAIL

# Sides of the central squares, relative to the picture within its frame.
SCALES = (1.0, 0.9, 0.8)
NUM_VIEWS = len(SCALES) + 1  # the last view is the whole image
WHOLE = len(SCALES)
# A view is reduced to this many values a side. Its frequencies are those of a difference of Gaussians.
GRID = 16
INNER_SIGMA = 0.7
OUTER_SIGMA = 3.0
_FREQUENCY = np.hypot(*np.indices((GRID, GRID)))
_USED = (_FREQUENCY > 0) & (_FREQUENCY < 9)
_ANGULAR = np.pi * _FREQUENCY / GRID
_WEIGHTS = np.exp(-((INNER_SIGMA * _ANGULAR) ** 2) / 2) - np.exp(-((OUTER_SIGMA * _ANGULAR) ** 2) / 2)
# Mirroring an image negates its odd horizontal frequencies.
_MIRROR = np.where(np.indices((GRID, GRID))[1] % 2, -1, 1)[_USED].astype(np.float32)
# The cosine of the angle between the vectors of a candidate pair.
MIN_SIMILARITY = 0.76
# The fraction of the variance of one view that the other explains if it is scaled and shifted a little.
MIN_EXPLAINED = 0.78
# Views with a smaller root mean square, in gray levels, are too plain to be compared.
MIN_CONTRAST = 1.0
# Most similar images that are verified for each image.
NUM_NEAREST = 4
NUM_TABLES = 64
# After each product of matrices, the threads of OpenBLAS wait busily for the next one: few large ones cost less.
TABLES_AT_ONCE = 8
# In each table a view is compared with this many views of the same code.
NUM_NEIGHBORS = 6
CHUNK = 4096
# A line of pixels is uniform if nearly all of its gray levels are this close to their median.
TOLERANCE = 6.0
UNIFORM_FRACTION = 0.95
MAX_FRAME_LAYERS = 4  # such as a white border, a black line and another white border
MIN_PICTURE = 20  # the smallest side in pixels of the picture within a frame, of THUMBNAIL
# A view of `first` resembles the picture of `second`, which may have to be mirrored.
CANDIDATE_DTYPE = np.dtype(
    [("first", np.int64), ("view", np.int8), ("second", np.int64), ("mirrored", np.bool_), ("similarity", np.float32)]
)


def find_candidates(thumbnails: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds pairs of images that may be near-duplicates.

    Args:
        thumbnails: `(images, 64, 64, 3)` uint8, which may be a memory map.
        rows: `(n,)` int64, the numbers of the images to compare.

    Returns:
        `(pairs,)` of `CANDIDATE_DTYPE`, the most similar first, with numbers of images, and `(n, 4)` float64, the
        picture within the frame of each of the `rows`: top, left, bottom and right, from 0 to 1.
    """
    boxes = np.empty((len(rows), 4))
    views = np.empty((len(rows), NUM_VIEWS, int(_USED.sum())), np.float32)
    for start in range(0, len(rows), CHUNK):
        block = slice(start, start + CHUNK)
        colors = np.ascontiguousarray(thumbnails[rows[block]]).reshape(-1, THUMBNAIL, 3)
        gray = cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY).reshape(-1, THUMBNAIL, THUMBNAIL).astype(np.float32)
        boxes[block] = find_frames(gray)
        views[block] = _describe_views(gray, boxes[block])
    pairs = _search(views, _is_framed(boxes))
    firsts = views[pairs["first"], pairs["view"]]
    seconds = views[pairs["second"], 0] * np.where(pairs["mirrored"][:, None], _MIRROR, 1)
    pairs = pairs[np.maximum(_explain(firsts, seconds), _explain(seconds, firsts)) >= MIN_EXPLAINED]
    pairs["first"] = rows[pairs["first"]]
    pairs["second"] = rows[pairs["second"]]
    return pairs[np.argsort(-pairs["similarity"], kind="stable")], boxes


def expect_placement(view: int, box: np.ndarray, box_of_second: np.ndarray, mirrored: bool) -> Placement:
    """Returns the placement of the first image of a candidate on the second, which is mirrored first if necessary."""
    if mirrored:
        top, left, bottom, right = box_of_second
        box_of_second = np.array([top, 1 - right, bottom, 1 - left])
    x, y, side = _locate_view(view, box)
    x_of_second, y_of_second, side_of_second = _locate_view(0, box_of_second)
    scale = side_of_second / side
    return Placement(scale, scale, x_of_second - scale * x, y_of_second - scale * y)


def find_frames(gray: np.ndarray) -> np.ndarray:
    """Finds the picture within a uniform frame or within bars.

    Args:
        gray: `(n, side, side)` float32 gray levels.

    Returns:
        `(n, 4)` float64: top, left, bottom and right of each picture, from 0 to 1. Without a frame: 0, 0, 1, 1.
    """
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (len(gray), 1))
    has_frame = np.zeros(len(gray), bool)
    for line in (gray[:, 0], gray[:, -1], gray[:, :, 0], gray[:, :, -1]):
        distances = np.abs(line - np.median(line, axis=1, keepdims=True))
        has_frame |= (distances <= TOLERANCE).mean(axis=1) >= UNIFORM_FRACTION
    for number in np.flatnonzero(has_frame):
        boxes[number] = _find_picture(gray[number])
    return boxes


def _find_picture(gray: np.ndarray) -> np.ndarray:
    """Removes the uniform lines at opposite edges of an image, layer by layer. Each layer has one gray level."""
    side = len(gray)
    box = np.array([0, 0, side, side])
    for _ in range(MAX_FRAME_LAYERS):
        before = box.copy()
        for axis in (0, 1):
            part = gray[box[0] : box[2], box[1] : box[3]]
            first, last = _count_uniform(part if axis == 0 else part.T)
            if first + last >= part.shape[axis]:
                return np.array([0.0, 0.0, 1.0, 1.0])  # a plain image
            box[axis] += first
            box[axis + 2] -= last
        if np.array_equal(before, box):
            break
    # The edge of a frame is blended with the picture.
    box[:2] += box[:2] > 0
    box[2:] -= box[2:] < side
    if (box[2:] - box[:2]).min() < MIN_PICTURE:
        return np.array([0.0, 0.0, 1.0, 1.0])
    return box / side


def _count_uniform(lines: np.ndarray) -> tuple[int, int]:
    """Returns the numbers of uniform lines of one gray level at the beginning and at the end. A sky has only one."""
    levels = np.median(lines, axis=1)
    is_uniform = (np.abs(lines - levels[:, None]) <= TOLERANCE).mean(axis=1) >= UNIFORM_FRACTION
    is_uniform &= np.abs(levels - levels[0]) <= TOLERANCE
    if is_uniform.all():
        return len(lines), 0
    first = int(np.argmin(is_uniform))
    last = int(np.argmin(is_uniform[::-1]))
    return (first, last) if first and last else (0, 0)


def _is_framed(boxes: np.ndarray) -> np.ndarray:
    return (boxes != [0, 0, 1, 1]).any(axis=-1)


def _locate_view(view: int, box: np.ndarray) -> tuple[float, float, float]:
    """Returns left, top and side of the square of a view, from 0 to 1."""
    if view == WHOLE:
        return 0.0, 0.0, 1.0
    top, left, bottom, right = box
    side = SCALES[view] * min(bottom - top, right - left)
    return float((left + right - side) / 2), float((top + bottom - side) / 2), float(side)


def _describe_views(gray: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns `(n, views, frequencies)`: vectors of unit length, or zero for plain views and for the last view of an
    image without a frame, whose first view is the whole image."""
    vectors = np.zeros((len(gray), NUM_VIEWS, int(_USED.sum())), np.float32)
    for box in np.unique(boxes, axis=0):  # Most images have no frame.
        members = np.flatnonzero((boxes == box).all(axis=1))
        for view in range(NUM_VIEWS if _is_framed(box) else WHOLE):
            left, top, side = _locate_view(view, box)
            spectra = _build_transform(top, side) @ gray[members] @ _build_transform(left, side).T
            vectors[members, view] = (spectra * _WEIGHTS)[:, _USED]
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.where(lengths >= MIN_CONTRAST * GRID, vectors / np.maximum(lengths, 1e-6), 0)


@functools.lru_cache(maxsize=10_000)
def _build_transform(start: float, side: float) -> np.ndarray:
    """Returns the `(16, 64)` matrix that averages pixels to a grid and takes the cosine transform along one axis."""
    edges = (start + side * np.arange(GRID + 1) / GRID) * THUMBNAIL
    pixels = np.arange(THUMBNAIL)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    averages = np.maximum(overlap, 0) / (side * THUMBNAIL / GRID)
    return fft.dct(averages, axis=0, norm="ortho").astype(np.float32)


def _search(views: np.ndarray, framed: np.ndarray) -> np.ndarray:
    """Returns the most similar pairs, with indices into `views`.

    In each table, the views on the same side of every hyperplane have the same code.
    """
    count = len(views)
    found = np.zeros(0, CANDIDATE_DTYPE)
    if count < 2:
        return found
    # The views of all images, then the mirrored pictures.
    image = np.concatenate([np.repeat(np.arange(count), NUM_VIEWS), np.arange(count)])
    view = np.concatenate([np.tile(np.arange(NUM_VIEWS, dtype=np.int8), count), np.full(count, -1, np.int8)])
    vectors = np.concatenate([views.reshape(-1, views.shape[2]), views[:, 0] * _MIRROR])
    usable = vectors.any(axis=1)
    image = image[usable]
    view = view[usable]
    vectors = vectors[usable]
    # With this many bits few different pictures agree by chance, whatever their number.
    num_bits = max(8, int(np.ceil(np.log2(len(vectors) + 1))) + 2)
    rng = np.random.default_rng(0)
    weights = 2.0 ** np.arange(num_bits)
    for _ in range(NUM_TABLES // TABLES_AT_ONCE):
        planes = rng.normal(size=(TABLES_AT_ONCE, vectors.shape[1], num_bits)).astype(np.float32)
        sides = vectors @ np.concatenate(planes, axis=1) > 0
        for codes in (sides.reshape(len(vectors), TABLES_AT_ONCE, num_bits) @ weights).T:
            order = np.argsort(codes, kind="stable")
            new = [found]
            for step in range(1, NUM_NEIGHBORS + 1):
                same = np.flatnonzero(codes[order[step:]] == codes[order[:-step]])
                new.append(_compare_views(order[same], order[same + step], image, view, vectors, framed))
            found = _keep_nearest(np.concatenate(new), count)
    return found


def _explain(views: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns `(pairs,)` the fraction of the variance of `others` that `views` explain, changed a little in scale and
    position. The change is linearized, as in one step of an alignment."""
    images = np.zeros((2, len(views), GRID, GRID), np.float32)
    images[0][:, _USED] = views
    images[1][:, _USED] = others
    one, other = fft.idctn(images, axes=(2, 3), norm="ortho")
    slope_y, slope_x = np.gradient(one, axis=(1, 2))
    position = (np.arange(GRID) - (GRID - 1) / 2) / GRID
    changes = [one, slope_x * position, slope_y * position[:, None], slope_x, slope_y]
    terms = np.stack(changes, axis=1).reshape(len(one), len(changes), GRID * GRID)
    terms -= terms.mean(axis=2, keepdims=True)
    normal = terms @ terms.transpose(0, 2, 1)
    diagonal = np.arange(len(changes))
    normal[:, diagonal, diagonal] = 1.02 * normal[:, diagonal, diagonal] + 1e-6
    products = terms @ other.reshape(len(other), GRID * GRID, 1)
    weights = np.linalg.solve(normal, products)
    return (weights * products).sum(axis=(1, 2)) / np.maximum(np.square(other).sum(axis=(1, 2)), 1e-6)


def _compare_views(
    ones: np.ndarray, others: np.ndarray, image: np.ndarray, view: np.ndarray, vectors: np.ndarray, framed: np.ndarray
) -> np.ndarray:
    """Returns the similar pairs among the given pairs of views."""
    # The second of a pair is a picture, or a mirrored one; the first is a view that is not mirrored.
    swap = (view[ones] == -1) | ((view[others] > 0) & (view[ones] == 0))
    firsts = np.where(swap, others, ones)
    seconds = np.where(swap, ones, others)
    valid = (image[firsts] != image[seconds]) & (view[firsts] >= 0) & (view[seconds] <= 0)
    # Equal frames make different images similar. Therefore framed images are compared only by their pictures.
    valid &= (view[firsts] != WHOLE) | ~framed[image[seconds]]
    firsts = firsts[valid]
    seconds = seconds[valid]
    similarity = np.concatenate(
        [
            np.einsum("nf,nf->n", vectors[firsts[start : start + CHUNK]], vectors[seconds[start : start + CHUNK]])
            for start in range(0, len(firsts) or 1, CHUNK)
        ]
    )
    near = similarity >= MIN_SIMILARITY
    pairs = np.zeros(int(near.sum()), CANDIDATE_DTYPE)
    pairs["first"] = image[firsts[near]]
    pairs["view"] = view[firsts[near]]
    pairs["second"] = image[seconds[near]]
    pairs["mirrored"] = view[seconds[near]] == -1
    pairs["similarity"] = similarity[near]
    return pairs


def _keep_nearest(pairs: np.ndarray, count: int) -> np.ndarray:
    """Keeps each pair of images once, and only if one of them is among the nearest of the other."""
    low = np.minimum(pairs["first"], pairs["second"])
    high = np.maximum(pairs["first"], pairs["second"])
    pairs = pairs[np.lexsort((-pairs["similarity"], low * count + high))]
    keys = np.minimum(pairs["first"], pairs["second"]) * count + np.maximum(pairs["first"], pairs["second"])
    pairs = pairs[np.diff(keys, prepend=-1) != 0]
    kept = np.zeros(len(pairs), bool)
    ends = np.concatenate([pairs["first"], pairs["second"]])
    order = np.lexsort((-np.tile(pairs["similarity"], 2), ends))
    starts = np.flatnonzero(np.diff(ends[order], prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    kept[order[ranks < NUM_NEAREST] % max(1, len(pairs))] = True
    return pairs[kept]
