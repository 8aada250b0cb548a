"""The table of RandAugment and TrivialAugment operations, and the matrices that `augment` composes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

LUMA = np.array((0.299, 0.587, 0.114))  # ITU-R BT.601, as in Pillow, which the papers use
VALUES = np.arange(256)
# RandAugment (Cubuk et al. 2019, arXiv 1909.13719): N = 2 operations at magnitude M = 9 of 30, as for its ResNet-50.
NUM_OPERATIONS = 2
MAGNITUDE = 0.3
# TrivialAugment (Müller & Hutter 2021, arXiv 2103.10158, wide space): one operation at a magnitude of 0/30 to 30/30.
MAX_MAGNITUDE = 30


def build_color_matrices(brightness: Any, contrast: Any, saturation: Any) -> np.ndarray:
    """Builds matrices `(..., 3, 4)` float32 for brightness, then contrast around the mean luma, then saturation.

    The arguments are factors or arrays of factors. 1 changes nothing; 0 gives black, the mean luma, and gray. The last
    column is multiplied by the image's mean luma in `recolor`.
    """
    factors = np.broadcast_arrays(brightness, contrast, saturation)
    brightness, contrast, saturation = (factor[..., None, None] for factor in factors)
    linear = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * LUMA)
    offset = np.broadcast_to(brightness * (1 - contrast), (*linear.shape[:-1], 1))
    return np.concatenate([linear, offset], axis=-1, dtype=np.float32)


def recolor(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a `(3, 4)` matrix of `build_color_matrices` to an image `(size, size, 3)` uint8."""
    mean = LUMA @ cv2.mean(image)[:3]
    return cv2.transform(image, matrix * np.array((1, 1, 1, mean), np.float32))


def _sharpen(image: np.ndarray, level: float) -> np.ndarray:
    """Sharpens by moving away from the smoothed image. A negative level smooths."""
    kernel = np.ones((3, 3)) * (-level / 13)
    kernel[1, 1] = 1 + level - 5 * level / 13
    return cv2.filter2D(image, -1, kernel)


def _solarize(image: np.ndarray, level: float) -> np.ndarray:
    return cv2.LUT(image, np.where(256 * (1 - level) > VALUES, VALUES, 255 - VALUES).astype(np.uint8))


def _autocontrast(image: np.ndarray, _: float) -> np.ndarray:
    """Scales the range of every channel to 0 ... 255. A constant channel stays as it is."""
    tables = []
    for channel in cv2.split(image):
        low, high = cv2.minMaxLoc(channel)[:2]
        tables.append(np.clip((VALUES - low) * (255 / (high - low)), 0, 255) if high > low else VALUES)
    return cv2.LUT(image, np.rint(tables).astype(np.uint8).T[None])


def _equalize(image: np.ndarray, _: float) -> np.ndarray:
    """Equalizes the histogram of every channel as `PIL.ImageOps.equalize` does, unlike `cv2.equalizeHist`."""
    tables = []
    for channel in cv2.split(image):
        counts = np.bincount(channel.ravel(), minlength=256)
        step = (channel.size - counts[channel.max()]) // 255
        below = np.cumsum(counts) - counts
        tables.append(np.minimum((step // 2 + below) // step, 255) if step else VALUES)
    return cv2.LUT(image, np.array(tables, np.uint8).T[None])


class Operation(NamedTuple):
    """An operation of the policies."""

    change: Callable[[np.ndarray, float], np.ndarray] | None  # None for the identity and geometric operations
    randaugment: float  # the level at magnitude 1 in RandAugment
    trivialaugment: float  # the level at magnitude 1 in TrivialAugment
    signed: bool = True  # True if the level gets a random sign


# The fourteen operations of the papers. Their translations are in pixels, for images of 331 and 224 pixels. Here they
# are fractions of the side.
OPERATIONS = {
    "identity": Operation(None, 0, 0, False),
    "rotate": Operation(None, math.radians(30), math.radians(135)),
    "shear_x": Operation(None, 0.3, 0.99),
    "shear_y": Operation(None, 0.3, 0.99),
    "translate_x": Operation(None, 150 / 331, 32 / 224),
    "translate_y": Operation(None, 150 / 331, 32 / 224),
    "brightness": Operation(lambda image, level: recolor(image, build_color_matrices(1 + level, 1, 1)), 0.9, 0.99),
    "contrast": Operation(lambda image, level: recolor(image, build_color_matrices(1, 1 + level, 1)), 0.9, 0.99),
    "saturation": Operation(lambda image, level: recolor(image, build_color_matrices(1, 1, 1 + level)), 0.9, 0.99),
    "sharpness": Operation(_sharpen, 0.9, 0.99),
    # The lowest bits are cleared.
    "posterize": Operation(lambda image, level: image & np.uint8(256 - (1 << round(level))), 4, 6, False),
    "solarize": Operation(_solarize, 1, 1, False),  # The brightest values are inverted.
    "autocontrast": Operation(_autocontrast, 0, 0, False),
    "equalize": Operation(_equalize, 0, 0, False),
}
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_NAMES = tuple(OPERATIONS)
_TABLE = tuple(OPERATIONS.values())


class Drawn(NamedTuple):
    """The drawn operations of a batch: indices into the table and signed levels, both `(batch, operations)`."""

    chosen: np.ndarray
    levels: np.ndarray


def draw_operations(rng: np.random.Generator, count: int, policy: str) -> Drawn:
    """Draws the operations of a policy for `count` images: "none", "randaugment" or "trivialaugment"."""
    if policy == "none":
        return Drawn(np.empty((count, 0), int), np.empty((count, 0)))
    is_trivial = policy == "trivialaugment"
    shape = (count, 1 if is_trivial else NUM_OPERATIONS)
    chosen = rng.integers(len(OPERATIONS), size=shape)
    magnitudes = rng.integers(MAX_MAGNITUDE + 1, size=shape) / MAX_MAGNITUDE if is_trivial else MAGNITUDE
    largest = np.array([getattr(operation, policy) for operation in _TABLE])
    signed = np.array([operation.signed for operation in _TABLE])
    signs = np.where(signed[chosen] & (rng.random(shape) < 0.5), -1, 1)
    return Drawn(chosen, magnitudes * largest[chosen] * signs)


def build_policy_affine(drawn: Drawn) -> np.ndarray:
    """Composes the drawn geometric operations of each image to matrices `(batch, 3, 3)`.

    They map points of the result to points of the image. Both have the image center as origin and the side as unit.
    """
    maps = np.tile(np.eye(3), (len(drawn.chosen), 1, 1))
    for chosen, levels in zip(drawn.chosen.T, drawn.levels.T, strict=True):
        maps = maps @ build_affine(**{name: np.where(chosen == _NAMES.index(name), levels, 0) for name in GEOMETRIC})
    return maps


def build_affine(
    rotate: np.ndarray, shear_x: Any = 0, shear_y: Any = 0, translate_x: Any = 0, translate_y: Any = 0
) -> np.ndarray:
    """Builds `(batch, 3, 3)` matrices as `build_policy_affine` does. `rotate` is counterclockwise, in radians.

    A shear fixes the top left corner, as in the code of the papers.
    """
    maps = np.zeros((len(rotate), 3, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(rotate)
    maps[:, 0, 1] = shear_x - np.sin(rotate)
    maps[:, 1, 0] = shear_y + np.sin(rotate)
    maps[:, 0, 2] = translate_x + np.divide(shear_x, 2)
    maps[:, 1, 2] = translate_y + np.divide(shear_y, 2)
    maps[:, 2, 2] = 1
    return maps


def change_pixels(image: np.ndarray, drawn: Drawn, index: int) -> np.ndarray:
    """Applies the drawn operations of image `index` that are not geometric, in the drawn order."""
    for chosen, level in zip(drawn.chosen[index], drawn.levels[index], strict=True):
        if change := _TABLE[chosen].change:
            image = change(image, float(level))
    return image
