"""The demo data set: small labeled drawings of organisms, made offline in seconds.

Every class uses the same palettes, scenes, light and clutter, so that a classifier has to learn shapes: a linear model
fails, and a small convolutional network needs a minute. Each image is a function of `(seed, split, class, index)` only,
so that a larger set contains the smaller ones byte for byte.
"""

import contextlib
import functools
import io
import json
import os
import shutil
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_inat.demo.classes import DRAWINGS, ORGANISMS, draw_image
from keras_inat.errors import explain_errors
from keras_inat.files import hold_lock, read_text, remove
from keras_inat.progress import track_progress
from keras_inat.workers import map_unordered

VERSION = 1  # counts changes of the drawings; a set of another version is replaced
SIDES = (120, 160)  # shortest and longest side of an image, in pixels
QUALITY = 92
CHUNK = 20  # images that a worker draws in one call


class _ImageName(NamedTuple):
    split: str
    class_name: str
    number: int  # counts from 1


def write_demo(
    directory: Path,
    *,
    classes: Collection[str] = ORGANISMS,
    num_train: int,
    num_test: int,
    seed: int = 0,
    num_workers: int | None = None,
) -> Path:
    """Writes a labeled set of drawings in the layout of iNaturalist-12K.

    The images are `train/<Class>/<Class>_0001.jpg` and `val/<Class>/...`, 120 to 160 pixels a side. The folder appears
    atomically. A complete set with the same parameters is kept, and another demo set is replaced.

    Args:
        directory: The folder to create, with its parents.
        classes: Keys of `ORGANISMS` and `THINGS`.
        num_train: Images per class in `train`.
        num_test: Images per class in `val`.
        seed: The seed of all images, at least 0.
        num_workers: The number of processes, by default one per core. It does not change the images.

    Returns:
        `directory`.

    Raises:
        ValueError: A class is unknown.
        FileExistsError: `directory` contains something other than a demo set.
    """
    unknown = [name for name in classes if name not in DRAWINGS]
    if unknown:
        raise ValueError(f"`classes` must be among {sorted(DRAWINGS)}. Received: {unknown}.")
    directory = Path(directory)
    counts = {"train": num_train, "val": num_test}
    names = [_ImageName(split, name, i + 1) for split, n in counts.items() for name in classes for i in range(n)]
    parameters = {
        "version": VERSION,
        "seed": seed,
        "classes": list(classes),
        "num_train": num_train,
        "num_test": num_test,
        "num_images": len(names),
    }
    partial = directory.parent / f".{directory.name}.partial"
    if _is_complete(directory, parameters) and not partial.exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with explain_errors("write", directory), hold_lock(directory.parent / f".{directory.name}.lock"):
        remove(partial)  # a killed process may have left it
        if not _is_complete(directory, parameters):  # another process may have drawn it while this one waited
            _write(directory, partial, names, parameters, num_workers)
    return directory


def _is_complete(directory: Path, parameters: dict[str, Any]) -> bool:
    try:
        written = json.loads(read_text(directory / "demo.json"))
    except (OSError, ValueError):
        return False
    return written == parameters and sum(1 for _ in directory.glob("*/*/*.jpg")) == parameters["num_images"]


def _write(
    directory: Path, partial: Path, names: list[_ImageName], parameters: dict[str, Any], num_workers: int | None
) -> None:
    if directory.exists() and any(directory.iterdir()) and not (directory / "demo.json").is_file():
        raise FileExistsError(
            f"{directory} contains something other than a demo data set. Move it, or give another folder."
        )
    try:
        for split, class_name in {(name.split, name.class_name) for name in names}:
            (partial / "new" / split / class_name).mkdir(parents=True)
        chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
        draw = functools.partial(_write_images, partial / "new", parameters["seed"])
        with (
            contextlib.closing(map_unordered(draw, chunks, num_workers)) as counts,
            track_progress(f"drawing {directory.name}", len(names), "images") as advance,
        ):
            for count in counts:
                advance(count)
        (partial / "new" / "demo.json").write_text(json.dumps(parameters, indent=2) + "\n")
        os.sync()
        if directory.exists():
            directory.rename(partial / "old")
        (partial / "new").rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_images(directory: Path, seed: int, names: Sequence[_ImageName]) -> int:
    for split, class_name, number in names:
        # The seed depends on the names, not on their position, so that other classes do not change an image.
        rng = np.random.default_rng([seed, zlib.crc32(f"{split}/{class_name}".encode()), number])
        width = int(rng.integers(SIDES[0], SIDES[1] + 1))
        height = int(rng.integers(SIDES[0], SIDES[1] + 1))
        path = directory / split / class_name / f"{class_name}_{number:04d}.jpg"
        content = io.BytesIO()  # written to a path, a JPEG file would be cut short by a full disk without an error
        draw_image(class_name, rng, (width, height)).save(content, "JPEG", quality=QUALITY)
        path.write_bytes(content.getvalue())
    return len(names)
