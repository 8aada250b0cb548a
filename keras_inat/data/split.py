"""The split of the training images into training and validation."""

import hashlib
from collections.abc import Sequence

import numpy as np


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
        seed: Another seed gives another split.

    Returns:
        Sorted int64 indices of the training images and of the validation images.
    """
    # Duplicates may have different labels. All of them are ranked in the class of the first.
    class_of: dict[str, int] = {}
    groups: dict[int, dict[str, list[int]]] = {}
    for index, (label, content) in enumerate(zip(labels.tolist(), hashes, strict=True)):
        label = class_of.setdefault(content, label)
        groups.setdefault(label, {}).setdefault(content, []).append(index)
    held: list[int] = []
    for members in groups.values():
        wanted = max(1, round(fraction * sum(map(len, members.values()))))
        ranked = sorted(members, key=lambda content: hashlib.sha256(f"{seed}:{content}".encode()).digest())
        chosen = []
        for content in ranked[:-1]:  # At least one image of each class remains for training.
            # A large group of duplicates could exceed the requested fraction.
            if len(members[content]) <= wanted:
                chosen.append(content)
                wanted -= len(members[content])
        if not chosen and len(ranked) > 1:
            chosen = [min(ranked, key=lambda content: len(members[content]))]
        held += (index for content in chosen for index in members[content])
    validation = np.array(sorted(held), dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), validation), validation
