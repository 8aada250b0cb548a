"""Data augmentation of a batch of images and labels, as a pure function of the batch and a seed.

All geometric changes of an image are one affine warp, and all color changes are one matrix. Other changes follow.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from keras_inat.data import policies
from keras_inat.data.decode import stored_size
from keras_inat.settings.schema import Augment

CUTOUT_GRAY = 128
MAX_LOG_ASPECT = math.log(4 / 3)  # of a crop, wide or tall
Batch = tuple[np.ndarray, np.ndarray]  # images and labels


def augment(images: np.ndarray, labels: np.ndarray, size: int, seed: Sequence[int], config: Augment) -> Batch:
    """Changes every image of a batch at random, then mixes pairs of them (mixup or CutMix).

    Args:
        images: `(batch, stored, stored, 3)` uint8, where `stored` is at least `size`. Not modified.
        labels: `(batch, classes)` float32, each row with the sum 1. Not modified.
        size: Side in pixels of the images to return. Larger images are cropped or scaled down.
        seed: Non-negative integers. The same seed gives the same changes.

    Returns:
        Images `(batch, size, size, 3)` uint8 and labels `(batch, classes)` float32. These are the arguments themselves
        if no change is configured.
    """
    rng = np.random.default_rng(seed)
    if images.shape[1] > 2 * size:  # The bilinear interpolation of a warp would skip pixels.
        smaller = (stored_size(size),) * 2
        images = np.stack([cv2.resize(image, smaller, interpolation=cv2.INTER_AREA) for image in images])
    if needs_margin(config) or config.flip or config.color or config.cutout or images.shape[1] != size:
        images = _change_images(rng, images, size, config)
    mixers = [(mixer, alpha) for mixer, alpha in ((_mix_up, config.mixup), (_cut_mix, config.cutmix)) if alpha]
    if mixers:
        mixer, alpha = mixers[rng.integers(len(mixers))]
        images, labels = mixer(rng, images, labels, alpha)
    return images, labels


def needs_margin(config: Augment) -> bool:
    """Returns True if images are cropped, rotated or warped, so that stored images should be larger than the input."""
    return config.crop < 1 or config.rotation > 0 or config.policy != "none"


def _change_images(rng: np.random.Generator, images: np.ndarray, size: int, config: Augment) -> np.ndarray:
    count = len(images)
    stored = images.shape[1]
    is_warped = needs_margin(config)
    is_resized = stored != size
    flipped = np.zeros(count, bool)
    drawn = policies.draw_operations(rng, count, config.policy)
    if is_warped:
        warps = _draw_warps(rng, drawn, stored, size, config)
    elif config.flip or is_resized:
        flipped = rng.random(count) < (0.5 if config.flip else 0.0)
    if config.color:  # Factors of brightness, contrast and saturation.
        colors = policies.build_color_matrices(*rng.uniform(1 - config.color, 1 + config.color, (3, count)))
    if config.cutout:  # DeVries & Taylor 2017, arXiv 1708.04552.
        rows, columns = _draw_squares(rng, size, np.full(count, round(config.cutout * size)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    changed = np.empty((count, size, size, 3), np.uint8)
    for index, image in enumerate(images):
        if is_warped:
            # OpenCV warps four channels twice as fast as three, conversions included.
            image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
            # Pixels beyond the border are filled by reflection.
            image = cv2.warpAffine(image, warps[index], (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
            image = cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)
        elif is_resized:
            image = cv2.resize(image, (size, size))
        if flipped[index]:
            image = cv2.flip(image, 1)
        if config.color:
            image = policies.recolor(image, colors[index])
        changed[index] = policies.change_pixels(image, drawn, index)
        if config.cutout:
            changed[index, slice(*rows[index]), slice(*columns[index])] = CUTOUT_GRAY
    return changed


def _draw_warps(rng: np.random.Generator, drawn: policies.Drawn, stored: int, size: int, config: Augment) -> np.ndarray:
    """Combines rotation, random resized crop (Szegedy et al. 2015, arXiv 1409.4842), flip and a policy in one warp.

    Returns:
        `(batch, 2, 3)` matrices that map pixels of the result to pixels of the image.
    """
    count = len(drawn.chosen)
    maps = policies.build_affine(rng.uniform(-1, 1, count) * math.radians(config.rotation))
    area = rng.uniform(config.crop, 1, count)
    # A crop that is no wider and no taller than the image has exactly the drawn area.
    aspect = np.exp(rng.uniform(-1, 1, count) * np.minimum(MAX_LOG_ASPECT, -np.log(area)))
    sides = np.sqrt([area * aspect, area / aspect])
    maps[:, :2, 2] = (rng.uniform(-0.5, 0.5, (2, count)) * (1 - sides)).T
    sides[0] *= np.where(rng.random(count) < (0.5 if config.flip else 0.0), -1, 1)
    maps[:, :2, :2] *= sides.T[:, None]
    maps = maps @ policies.build_policy_affine(drawn)
    # The maps have the side as their unit and the image center as their origin. Pixel centers lie at integers.
    linear = maps[:, :2, :2] * (stored / size)
    shift = maps[:, :2, 2] * stored
    shift += (stored - 1) / 2 - linear.sum(axis=2) * ((size - 1) / 2)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def _draw_squares(rng: np.random.Generator, size: int, sides: np.ndarray) -> np.ndarray:
    """Returns the row and column bounds of squares around random pixels, clipped to the image: `(2, batch, 2)`."""
    start = rng.integers(size, size=(2, len(sides))) - sides // 2
    return np.clip(np.stack([start, start + sides], axis=2), 0, size)


def _mix_up(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, alpha: float) -> Batch:
    """Blends each image with the previous one of the shuffled batch (mixup, Zhang et al. 2017, arXiv 1710.09412)."""
    fractions = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    mixed = np.empty(images.shape, np.uint8)
    for index, fraction in enumerate(fractions.tolist()):
        cv2.addWeighted(images[index], fraction, images[index - 1], 1 - fraction, 0, dst=mixed[index])
    return mixed, _mix_labels(labels, fractions)


def _cut_mix(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, alpha: float) -> Batch:
    """Pastes a square of the previous image and mixes labels by area (CutMix, Yun et al. 2019, arXiv 1905.04899)."""
    size = images.shape[1]
    sides = size * np.sqrt(1 - rng.beta(alpha, alpha, len(images)))
    rows, columns = _draw_squares(rng, size, np.rint(sides).astype(int))
    mixed = np.array(images)
    for index in range(len(images)):
        square = (slice(*rows[index]), slice(*columns[index]))
        mixed[index][square] = images[index - 1][square]
    pasted = np.diff(rows)[:, 0] * np.diff(columns)[:, 0] / size**2
    return mixed, _mix_labels(labels, (1 - pasted).astype(np.float32))


def _mix_labels(labels: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    return labels * fractions[:, None] + np.roll(labels, 1, axis=0) * (1 - fractions[:, None])
