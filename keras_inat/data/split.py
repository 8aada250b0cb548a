"""Which training images are held out for validation."""

import hashlib
from collections.abc import Sequence

import numpy as np


def split_validation(
    labels: np.ndarray, hashes: Sequence[str], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits the training images, class by class, into training and validation.

    An image's place follows from its content and the seed, not from its name or the order of files: copies of an
    image stay on one side, and adding images moves few others.

    Args:
        labels: `(images,)` int, the class of each image.
        hashes: `images` content hashes.
        fraction: Part of each class to hold out, at least one image of each class that has two.
        seed: Chooses another split.

    Returns:
        Sorted indices of the training and of the validation images, int64.
    """
    # Copies that carry different labels would otherwise be ranked in two classes: the first label decides for all.
    home: dict[str, int] = {}
    groups: dict[int, dict[str, list[int]]] = {}
    for index, (label, content) in enumerate(zip(labels.tolist(), hashes, strict=True)):
        label = home.setdefault(content, label)
        groups.setdefault(label, {}).setdefault(content, []).append(index)
    held: list[int] = []
    for members in groups.values():
        wanted = max(1, round(fraction * sum(map(len, members.values()))))
        ranked = sorted(members, key=lambda content: hashlib.sha256(f"{seed}:{content}".encode()).digest())
        chosen = []
        for content in ranked[:-1]:  # at least one image of the class is left to train on
            # Many copies of one image would take more of the class than is to be held out.
            if len(members[content]) <= wanted:
                chosen.append(content)
                wanted -= len(members[content])
        if not chosen and len(ranked) > 1:
            chosen = [min(ranked, key=lambda content: len(members[content]))]
        held += (index for content in chosen for index in members[content])
    validation = np.array(sorted(held), dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), validation), validation
