"""A small labelled set of drawn organisms, made on the spot, to run the whole program offline and in minutes.

The pictures share palettes, scenes, light and clutter across classes, so that a classifier has to look at
shapes: a linear one never gets far, a small convolutional network takes a minute. Every image is a function
of `(seed, split, class, index)` alone: a larger set contains the smaller ones, byte for byte.
"""

import contextlib
import functools
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_inat.demo import arthropods, birds_mammals, flora, herptiles, sea, things
from keras_inat.demo.scene import Drawing, paint
from keras_inat.files import hold_lock
from keras_inat.progress import track_progress
from keras_inat.workers import map_unordered

VERSION = 1  # counts changes of the pictures: an older set on disk is replaced
QUALITY = 92
CHUNK = 20  # images a worker draws between two reports

ORGANISMS: dict[str, tuple[Drawing, ...]] = {
    "Amphibia": (herptiles.frog, herptiles.tree_frog, herptiles.axolotl, herptiles.newt),
    "Animalia": (sea.starfish, sea.jellyfish, sea.crab),
    "Arachnida": (arthropods.spider, arthropods.web_spider, arthropods.scorpion),
    "Aves": (birds_mammals.songbird, birds_mammals.owl, birds_mammals.swallow),
    "Fungi": (flora.toadstool, flora.bonnets, flora.chanterelle),
    "Insecta": (arthropods.butterfly, arthropods.beetle, arthropods.dragonfly),
    "Mammalia": (birds_mammals.fox, birds_mammals.cat, birds_mammals.bear, birds_mammals.rabbit),
    "Mollusca": (sea.snail, sea.scallop, sea.octopus),
    "Plantae": (flora.daisy, flora.sprig, flora.cactus),
    "Reptilia": (herptiles.snake, herptiles.lizard, herptiles.turtle),
}
THINGS: dict[str, tuple[Drawing, ...]] = {
    "Boat": (things.boat,),
    "Car": (things.car,),
    "Clock": (things.clock,),
    "Crystal": (things.crystal,),
    "Cup": (things.cup,),
    "House": (things.house,),
    "Key": (things.key,),
    "Kite": (things.kite,),
    "Lamp": (things.lamp,),
    "Rocket": (things.rocket,),
}
DRAWINGS = ORGANISMS | THINGS
CLASSES = tuple(ORGANISMS)
OTHER_CLASSES = tuple(THINGS)

Task = tuple[str, str, int]  # split, class name, index from 1


def draw_image(class_name: str, rng: np.random.Generator, size: tuple[int, int] = (144, 144)) -> Image.Image:
    """Draws one picture of a class.

    Args:
        class_name: one of `CLASSES` or `OTHER_CLASSES`.
        rng: decides everything about the picture.
        size: width and height in pixels.

    Returns:
        An RGB image of that size.

    Raises:
        ValueError: if there is no such class.
    """
    if class_name not in DRAWINGS:
        raise ValueError(f"`class_name` must be one of {sorted(DRAWINGS)}. Received: {class_name!r}.")
    drawings = DRAWINGS[class_name]
    return paint(drawings[int(rng.integers(len(drawings)))], rng, size)


def _write_images(directory: Path, seed: int, tasks: Sequence[Task]) -> int:
    for split, class_name, index in tasks:
        # A hash of the names, not their place in a list: classes left out or added change no other image.
        rng = np.random.default_rng([seed, zlib.crc32(f"{split}/{class_name}".encode()), index])
        size = (int(rng.integers(120, 161)), int(rng.integers(120, 161)))
        path = directory / split / class_name / f"{class_name}_{index:04d}.jpg"
        draw_image(class_name, rng, size).save(path, quality=QUALITY)
    return len(tasks)


def _is_complete(directory: Path, parameters: dict[str, Any]) -> bool:
    try:
        written = json.loads((directory / "demo.json").read_text())
    except (OSError, ValueError):
        return False
    return written == parameters and sum(1 for _ in directory.glob("*/*/*.jpg")) == parameters["num_images"]


def write_demo(
    directory: Path,
    *,
    classes: Sequence[str] = CLASSES,
    num_train: int,
    num_test: int,
    seed: int = 0,
    num_workers: int | None = None,
) -> Path:
    """Writes a labelled set of drawings, in the layout of iNaturalist-12K.

    The images are `train/<Class>/<Class>_0001.jpg` and `val/<Class>/...`, 120 to 160 pixels a side. The
    folder appears whole or not at all. A complete set with these parameters is left as it is; another
    demo is replaced.

    Args:
        directory: the folder to make; its parents are created.
        classes: from `CLASSES` and `OTHER_CLASSES`.
        num_train: images per class in `train`.
        num_test: images per class in `val`.
        seed: another seed gives other images. At least 0.
        num_workers: processes that draw; by default one a core. The images are the same.

    Returns:
        `directory`.

    Raises:
        ValueError: if a class is unknown.
        FileExistsError: if `directory` holds anything but an earlier demo.
    """
    unknown = [name for name in classes if name not in DRAWINGS]
    if unknown:
        raise ValueError(f"`classes` must be among {sorted(DRAWINGS)}. Received: {unknown}.")
    directory = Path(directory)
    counts = {"train": num_train, "val": num_test}
    tasks = [(split, name, i + 1) for split, n in counts.items() for name in classes for i in range(n)]
    parameters = {
        "version": VERSION,
        "seed": seed,
        "classes": list(classes),
        "num_train": num_train,
        "num_test": num_test,
        "num_images": len(tasks),
    }
    if _is_complete(directory, parameters):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(directory.parent / f".{directory.name}.lock"):
        if not _is_complete(directory, parameters):  # nor has another process drawn it meanwhile
            _write(directory, seed, tasks, parameters, num_workers)
    return directory


def _write(
    directory: Path,
    seed: int,
    tasks: list[Task],
    parameters: dict[str, Any],
    num_workers: int | None,
) -> None:
    if directory.exists() and any(directory.iterdir()) and not (directory / "demo.json").is_file():
        raise FileExistsError(
            f"{directory} holds something else than a demo data set. Move it, or name another folder."
        )
    partial = directory.parent / f".{directory.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    try:
        for split, name in {task[:2] for task in tasks}:
            (partial / "new" / split / name).mkdir(parents=True)
        chunks = [tasks[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)]
        write = functools.partial(_write_images, partial / "new", seed)
        with (
            contextlib.closing(map_unordered(write, chunks, num_workers)) as written,
            track_progress(f"drawing {directory.name}", len(tasks), "images") as advance,
        ):
            for count in written:
                advance(count)
        (partial / "new" / "demo.json").write_text(json.dumps(parameters, indent=2) + "\n")
        os.sync()
        if directory.exists():
            directory.rename(partial / "old")
        (partial / "new").rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
