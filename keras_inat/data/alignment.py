"""Verification of near-duplicates: one image is aligned with the other, then compared cell by cell.

Two files show the same picture if, after alignment and a change of brightness and contrast, all parts of the picture
agree in their details and colors. Similar frames, layouts or outlines are not enough.

The alignment is that of Lucas and Kanade (1981, "An iterative image registration technique with an application to
stereo vision"), for scale and shift along both axes.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

GRAY = np.array([0.299, 0.587, 0.114], np.float32)
# The levels of the alignment, from coarse to fine: the factor by which images are shrunk, the standard deviation of the
# blur in pixels of the shrunk image, and the correlation that is needed for the next level.
LEVELS = ((2, 1.5, 0.9), (1, 2.0, 0.93), (1, 1.0, 0.93))
NUM_STEPS = 10
CELL = 8  # side in pixels of a cell
# Gray levels from here on may be clipped in a brighter copy. They are not compared if enough others remain.
CLIPPED = 248
MIN_UNCLIPPED = 0.25
# Details are what blurs with this standard deviation in pixels remove, along the rows as well as along the columns. A
# straight edge or a line of text without its letters is no detail: different pages have both at the same places.
DETAIL_BLUR = 4.0
_KERNEL = cv2.getGaussianKernel(2 * round(4 * DETAIL_BLUR) + 1, DETAIL_BLUR, cv2.CV_32F)
_IDENTITY = np.ones((1, 1), np.float32)
# A cell whose details have a smaller root mean square, in gray levels, is not compared.
MIN_DETAIL = 1.0
# Details agree if their correlation, with a penalty for different contrast, reaches this value.
MIN_CELL_SIMILARITY = 0.5
# The limits of a near-duplicate. docs/duplicates.md has the copies and the look-alikes that they were chosen on.
MIN_CELLS = 6
MIN_AGREEMENT = 0.82
MIN_OVERLAP = 0.45
MAX_STRETCH = 0.04
MAX_SCALE = 1.3
MAX_GAIN = 2.2
MAX_COLOR_DIFFERENCE = 0.3
# Images whose colors differ less from gray, in gray levels, may be copies in gray.
MIN_COLOR = 2.5


class Placement(NamedTuple):
    """The position of an image on another one: `scale * x + shift`, in units of the side of the square image."""

    scale_x: float
    scale_y: float
    shift_x: float
    shift_y: float


class Comparison(NamedTuple):
    """The result of comparing two images."""

    placement: Placement  # of the first image on the second
    correlation: float  # of the gray levels where the images overlap
    num_cells: int  # cells that have details in either image
    num_agreeing: int  # cells whose details agree
    is_same: bool  # true if both images show the same picture


def compare(
    first: np.ndarray, second: np.ndarray, boxes: tuple[np.ndarray, np.ndarray], expected: Placement
) -> Comparison | None:
    """Aligns two images and compares them.

    Args:
        first: `(side, side, 3)` uint8.
        second: `(side, side, 3)` uint8, mirrored already if one image is the mirror image of the other.
        boxes: The picture within the frame of each image: top, left, bottom and right, from 0 to 1.
        expected: The approximate placement of the first image on the second.

    Returns:
        The comparison, or None if the images cannot be aligned.
    """
    side = len(first)
    pictures = []
    corners = []
    for image, box in zip((first, second), boxes, strict=True):
        top, left, bottom, right = np.rint(box * side).astype(int)
        pictures.append(image[top:bottom, left:right].astype(np.float32))
        corners.append(np.array([left, top]))
    # From pixels of the first picture to pixels of the second. The center of pixel 0 is at 0.5.
    warp = np.diag([expected.scale_x, expected.scale_y, 0])[:2]
    scales = warp.diagonal()
    warp[:, 2] = scales * (corners[0] + 0.5) + side * np.array(expected[2:]) - 0.5 - corners[1]
    grays = [picture @ GRAY for picture in pictures]
    for factor, blur, needed in LEVELS:
        shrunk = [_smooth(shrink(gray, *(side // factor for side in gray.shape)), blur) for gray in grays]
        found = _align(shrunk[0], shrunk[1], _rescale(warp, 1 / factor))
        if found is None or _correlate_overlap(shrunk[0], shrunk[1], found) < needed:
            return None
        warp = _rescale(found, factor)
    shifts = (warp[:, 2] + 0.5 + corners[1] - warp.diagonal() * (corners[0] + 0.5)) / side
    placement = Placement(*warp.diagonal().tolist(), *shifts.tolist())
    return _compare_aligned(pictures, warp, placement, expected)


def shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns an image with another, smaller height and width in pixels."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _align(ours: np.ndarray, theirs: np.ndarray, warp: np.ndarray) -> np.ndarray | None:
    """Improves the scales and shifts by Gauss-Newton steps that minimize the squared differences of gray levels."""
    height, width = ours.shape
    gradients = [cv2.Sobel(theirs, cv2.CV_32F, x, y, scale=1 / 8) for x, y in ((1, 0), (0, 1))]
    layers = cv2.merge([theirs, *gradients])
    from_center_x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    from_center_y = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None]
    warp = warp.copy()
    for _ in range(NUM_STEPS):
        rows, columns = _overlap(warp, ours.shape, theirs.shape)
        target = ours[rows, columns]
        if target.size < CELL * CELL:
            return None
        moved = _warp(layers, warp, ours.shape)[rows, columns]
        slope_x = moved[..., 1]
        slope_y = moved[..., 2]
        terms = np.stack(
            [target, moved[..., 0], slope_x * from_center_x[columns], slope_y * from_center_y[rows], slope_x, slope_y]
        ).reshape(6, -1)
        terms = terms[:, _find_unclipped(target, moved[..., 0]).ravel()]
        terms -= terms.mean(axis=1, keepdims=True)
        products = terms @ terms.T
        gain = max(products[0, 1] / max(products[1, 1], 1e-6), 1 / MAX_GAIN)
        normal = products[2:, 2:] * gain**2
        normal[np.diag_indices(4)] = normal.diagonal() * 1.01 + 1e-3  # damped where there is no detail
        step = np.linalg.solve(normal, gain * (products[2:, 0] - gain * products[2:, 1]))
        step = np.clip(step, [-0.05, -0.05, -2, -2], [0.05, 0.05, 2, 2])
        # The scale changes about the center of `ours`.
        warp[0] += step[0], 0, step[2] - step[0] * (width - 1) / 2
        warp[1] += 0, step[1], step[3] - step[1] * (height - 1) / 2
        if min(warp[0, 0], warp[1, 1]) <= 0.1:
            return None
        if np.abs(step[2:]).max() < 0.05 and np.abs(step[:2]).max() < 1e-3:
            break
    return warp


def _compare_aligned(
    pictures: list[np.ndarray], warp: np.ndarray, placement: Placement, expected: Placement
) -> Comparison | None:
    ours, theirs = pictures
    inside = _overlap(warp, ours.shape, theirs.shape)
    colors = ours[inside]
    if min(colors.shape[:2]) < 2 * CELL:
        return None
    colors_of_second = _warp(theirs, warp, ours.shape)[inside]
    gray = _smooth(ours @ GRAY, 1)[inside]
    gray_of_second = _warp(_smooth(theirs @ GRAY, 1), warp, ours.shape)[inside]
    correlation, gain = _correlate(gray, gray_of_second)
    details, details_of_second = _match_sharpness(gray, gain * gray_of_second)
    similarities = _compare_cells(details, details_of_second, _find_unclipped(gray, gray_of_second))
    num_agreeing = int((similarities >= MIN_CELL_SIMILARITY).sum())
    scale = (placement.scale_x * placement.scale_y) ** 0.5 / expected.scale_x
    overlap = gray.size / max(ours[..., 0].size, theirs[..., 0].size / (placement.scale_x * placement.scale_y))
    is_same = (
        len(similarities) >= MIN_CELLS
        and num_agreeing >= MIN_AGREEMENT * len(similarities)
        and abs(np.log(placement.scale_x / placement.scale_y)) <= MAX_STRETCH
        and 1 / MAX_SCALE <= scale <= MAX_SCALE
        and 1 / MAX_GAIN <= gain <= MAX_GAIN
        and overlap >= MIN_OVERLAP
        and _compare_colors(colors, gain * colors_of_second) <= MAX_COLOR_DIFFERENCE
    )
    return Comparison(placement, correlation, len(similarities), num_agreeing, bool(is_same))


def _correlate(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Returns the correlation of two images, and the factor that gives the second the contrast of the first."""
    unclipped = _find_unclipped(one, other)
    one = one[unclipped]
    other = other[unclipped]
    deviation = one.std() + 0.1
    deviation_of_other = other.std() + 0.1
    covariance = np.mean((one - one.mean()) * (other - other.mean()))
    return float(covariance / (deviation * deviation_of_other)), float(deviation / deviation_of_other)


def _correlate_overlap(ours: np.ndarray, theirs: np.ndarray, warp: np.ndarray) -> float:
    inside = _overlap(warp, ours.shape, theirs.shape)
    one = ours[inside]
    return _correlate(one, _warp(theirs, warp, ours.shape)[inside])[0] if one.size else 0.0


def _match_sharpness(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the details of two images. The sharper one is blurred: a copy may lack the finest details."""
    details = [_extract_details(image) for image in (one, other)]
    energies = [np.square(detail).mean() for detail in details]
    sharper = int(energies[1] > energies[0])
    image = (one, other)[sharper]
    for blur in (0.5, 0.7, 1.0, 1.4, 2.0):
        if energies[sharper] <= 1.2 * energies[1 - sharper]:
            break
        details[sharper] = _extract_details(_smooth(image, blur))
        energies[sharper] = np.square(details[sharper]).mean()
    return details[0], details[1]


def _extract_details(image: np.ndarray) -> np.ndarray:
    without_rows = image - cv2.sepFilter2D(image, -1, _KERNEL, _IDENTITY)
    return without_rows - cv2.sepFilter2D(without_rows, -1, _IDENTITY, _KERNEL)


def _find_unclipped(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns a mask of the pixels that are not clipped in either image, or of all pixels if they are too few."""
    unclipped = (one < CLIPPED) & (other < CLIPPED)
    return unclipped if unclipped.mean() >= MIN_UNCLIPPED else np.ones_like(unclipped)


def _compare_cells(details: np.ndarray, others: np.ndarray, unclipped: np.ndarray) -> np.ndarray:
    """Returns `(cells,)` the similarity of the details, from -1 to 1, in each cell that has details."""
    height, width = (side // CELL for side in details.shape)
    details = details * unclipped
    others = others * unclipped
    maps = (details * details, others * others, details * others)
    # The area is divided evenly into cells of at least CELL pixels a side.
    energies, energies_of_others, products = (shrink(values, height, width) for values in maps)
    energies = np.maximum(energies, energies_of_others)
    compared = energies > MIN_DETAIL**2
    return products[compared] / energies[compared]


def _compare_colors(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the difference of the colors relative to their strength, or 0 if one image is gray."""
    colors = [_smooth(image - image.mean(axis=2, keepdims=True), 2) for image in (one, other)]
    if min(np.abs(color).mean() for color in colors) < MIN_COLOR:
        return 0.0
    return float(np.linalg.norm(colors[0] - colors[1]) / np.hypot(np.linalg.norm(colors[0]), np.linalg.norm(colors[1])))


def _overlap(warp: np.ndarray, shape: tuple[int, ...], shape_of_other: tuple[int, ...]) -> tuple[slice, slice]:
    """Returns the rows and columns that lie within the other image."""
    spans = []
    for size, size_of_other, (scale, shift) in zip(shape, shape_of_other, (warp[1, 1:], warp[0, ::2]), strict=False):
        first = math.ceil(-shift / scale)
        last = math.floor((size_of_other - 1 - shift) / scale)
        spans.append(slice(max(0, first), max(0, min(size, last + 1))))
    return spans[0], spans[1]


def _rescale(warp: np.ndarray, factor: float) -> np.ndarray:
    """Returns the warp between images that are `factor` times as large."""
    scales = warp.diagonal()
    shifts = factor * (warp[:, 2] + 0.5 - 0.5 * scales) - 0.5 + 0.5 * scales
    return np.column_stack([warp[:, :2], shifts])


def _warp(image: np.ndarray, warp: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, warp, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)
