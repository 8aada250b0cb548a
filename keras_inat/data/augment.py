"""Random changes to a batch of images and labels, a pure function of the batch and a seed.

An image is moved (mirror, crop, rotation, a policy's moves) in one interpolation, recoloured by one matrix, and only
then changed by what is neither; what is off costs nothing.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from keras_inat.data.decode import stored_size
from keras_inat.data.policies import (
    Drawn,
    build_color_matrices,
    build_map,
    build_moves,
    change_pixels,
    draw_operations,
    recolor,
)
from keras_inat.settings.schema import Augment

# Batches are made in parallel by the caller's threads; threads of OpenCV's own would only get in their way.
cv2.setNumThreads(0)

GREY = 128  # of what cutout erases
WIDEST = math.log(4 / 3)  # aspect ratio of a crop, either way
Step = Callable[[np.ndarray, int], np.ndarray]


def augment(
    images: np.ndarray, labels: np.ndarray, size: int, seed: Sequence[int], config: Augment
) -> tuple[np.ndarray, np.ndarray]:
    """Changes every image of a batch as `config` says, then mixes pairs of them.

    Args:
        images: `(batch, stored, stored, 3)` uint8, `stored` at least `size`. Not changed.
        labels: `(batch, classes)` float32, each summing to 1. Not changed.
        size: Side of the images to return; from larger ones crops are taken, or they are scaled down whole.
        seed: Non-negative integers; the same give the same changes.
        config: What may change, and by how much.

    Returns:
        Images `(batch, size, size, 3)` uint8 and labels `(batch, classes)` float32; the arguments themselves where
        nothing is to be done.
    """
    rng = np.random.default_rng(seed)
    if images.shape[1] > 2 * size:
        images = _shrink(images, stored_size(size))
    count, stored = images.shape[:2]
    drawn = draw_operations(rng, count, config)
    plans = (
        (_plan_move if moves(config) else _plan_mirror)(rng, drawn, stored, size, config),
        _plan_recolor(rng, count, config.color) if config.color else None,
        (lambda image, index: change_pixels(image, drawn, index)) if drawn.chosen.size else None,
        _plan_cutout(rng, count, size, config.cutout) if config.cutout else None,
    )
    if steps := [plan for plan in plans if plan]:
        images = _run(steps, images, size)
    mixers = [mixer for mixer, alpha in ((_mix_up, config.mixup), (_cut_mix, config.cutmix)) if alpha]
    if mixers:
        images, labels = mixers[rng.integers(len(mixers))](rng, images, labels, config)
    return images, labels


def moves(config: Augment) -> bool:
    """Whether parts of images are enlarged or turned, so that they are worth storing larger than they are served."""
    return config.crop < 1 or config.rotation > 0 or config.policy != "none"


def _shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Smaller images, every pixel counted: the bilinear interpolation of moved images would leave some out."""
    return np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in images])


def _run(steps: list[Step], images: np.ndarray, size: int) -> np.ndarray:
    changed = np.empty((len(images), size, size, 3), np.uint8)
    for index, image in enumerate(images):
        for step in steps:
            image = step(image, index)
        changed[index] = image
    return changed


def _plan_mirror(rng: np.random.Generator, drawn: Drawn, stored: int, size: int, config: Augment) -> Step | None:
    if not config.flip and stored == size:
        return None
    mirrored = _draw_mirrored(rng, len(drawn.chosen), config)

    def mirror(image: np.ndarray, index: int) -> np.ndarray:
        image = image if stored == size else cv2.resize(image, (size, size))
        return cv2.flip(image, 1) if mirrored[index] else image

    return mirror


def _draw_mirrored(rng: np.random.Generator, count: int, config: Augment) -> np.ndarray:
    return rng.random(count) < (0.5 if config.flip else 0)


def _plan_move(rng: np.random.Generator, drawn: Drawn, stored: int, size: int, config: Augment) -> Step:
    """Rotation, random resized crop (Szegedy et al. 2015, arXiv 1409.4842), mirror and a policy's moves, in one.

    Where a result reaches beyond its image, the image goes on mirrored.
    """
    count = len(drawn.chosen)
    maps = build_map(rng.uniform(-1, 1, count) * math.radians(config.rotation))
    area = rng.uniform(config.crop, 1, count)
    # No wider than the image, so that a crop has the area that was drawn.
    aspect = np.exp(rng.uniform(-1, 1, count) * np.minimum(WIDEST, -np.log(area)))
    sides = np.sqrt([area * aspect, area / aspect])
    maps[:, :2, 2] = (rng.uniform(-0.5, 0.5, (2, count)) * (1 - sides)).T
    sides[0] *= np.where(_draw_mirrored(rng, count, config), -1, 1)
    maps[:, :2, :2] *= sides.T[:, None]
    maps = maps @ build_moves(drawn)
    # From units of the side about the centre to pixels, whose centres lie at integers.
    linear, shift = maps[:, :2, :2] * (stored / size), maps[:, :2, 2] * stored
    shift += (stored - 1) / 2 - linear.sum(axis=2) * ((size - 1) / 2)
    matrices = np.concatenate([linear, shift[:, :, None]], axis=2)
    return lambda image, index: _warp(image, matrices[index], size)


def _warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)  # OpenCV is twice as fast on four channels, conversions included
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)


def _plan_recolor(rng: np.random.Generator, count: int, strength: float) -> Step:
    """Brightness, contrast and saturation, each scaled by its own factor in 1 - strength ... 1 + strength."""
    matrices = build_color_matrices(*rng.uniform(1 - strength, 1 + strength, (3, count)))
    return lambda image, index: recolor(image, matrices[index])


def _plan_cutout(rng: np.random.Generator, count: int, size: int, fraction: float) -> Step:
    """A grey square about a random pixel (DeVries & Taylor 2017, arXiv 1708.04552); part of it may lie outside."""
    rows, columns = _draw_squares(rng, size, np.full(count, round(fraction * size)))

    def erase(image: np.ndarray, index: int) -> np.ndarray:
        image = image.copy()
        image[slice(*rows[index]), slice(*columns[index])] = GREY
        return image

    return erase


def _draw_squares(rng: np.random.Generator, size: int, sides: np.ndarray) -> np.ndarray:
    """Rows and columns from ... to of squares about random pixels, clipped to the image: `(2, batch, 2)`."""
    start = rng.integers(size, size=(2, len(sides))) - sides // 2
    return np.clip(np.stack([start, start + sides], axis=2), 0, size)


# A batch comes shuffled, so the image before, of the last one the first, is as random a partner as any, and not the
# image itself where there is another. Every image has its own share.


def _mix_up(
    rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, config: Augment
) -> tuple[np.ndarray, np.ndarray]:
    """Each image a convex combination with another, labels likewise (Zhang et al. 2017, arXiv 1710.09412)."""
    shares = rng.beta(config.mixup, config.mixup, len(images)).astype(np.float32)
    mixed = np.empty(images.shape, np.uint8)
    for index, share in enumerate(shares.tolist()):
        cv2.addWeighted(images[index], share, images[index - 1], 1 - share, 0, dst=mixed[index])
    return mixed, _mix_labels(labels, shares)


def _cut_mix(
    rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, config: Augment
) -> tuple[np.ndarray, np.ndarray]:
    """Each image with a square of another pasted in, labels by the areas (Yun et al. 2019, arXiv 1905.04899)."""
    size = images.shape[1]
    sides = size * np.sqrt(1 - rng.beta(config.cutmix, config.cutmix, len(images)))
    rows, columns = _draw_squares(rng, size, np.rint(sides).astype(int))
    mixed = np.array(images)
    for index in range(len(images)):
        square = slice(*rows[index]), slice(*columns[index])
        mixed[index][square] = images[index - 1][square]
    pasted = np.diff(rows)[:, 0] * np.diff(columns)[:, 0] / size**2
    return mixed, _mix_labels(labels, (1 - pasted).astype(np.float32))


def _mix_labels(labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return labels * shares[:, None] + np.roll(labels, 1, axis=0) * (1 - shares[:, None])
