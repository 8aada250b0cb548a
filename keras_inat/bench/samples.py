"""The image files that all sides read: some of the data set, and some of those enlarged."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from keras_inat.data.decode import decode
from keras_inat.data.layouts import FOLDERS
from keras_inat.data.source import ImageFile, Source

# Enough files to make the start of the processes negligible.
MAX_FILES = 4_000
MAX_BYTES = 2**26
# Test images per class. Only training images are served.
NUM_TEST = 5
# Width and height of the enlarged images in pixels.
LARGE = (800, 600)
NUM_LARGE = 384
QUALITY = 90
# The formats that every side can read, with the suffix that they need.
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}


def write_originals(source: Source, folder: Path) -> Path:
    """Copies images of `source` to `train/<Class>/` and `val/<Class>/` in `folder`, which it returns."""
    num_bytes = 0
    readable = ((file, content, suffix) for file in _choose(source) for content, suffix in _read(source, file))
    for number, (file, content, suffix) in enumerate(itertools.islice(readable, MAX_FILES)):
        _place(folder, file, f"{number:05}{suffix}").write_bytes(content)
        num_bytes += len(content)
        if num_bytes > MAX_BYTES:
            break
    return folder


def write_large(originals: Path, folder: Path) -> Path:
    """Enlarges some images of `write_originals` to JPEGs of the size of photographs."""
    source = Source(originals)
    for file in itertools.islice(_choose(source), NUM_LARGE):
        with Image.open(originals / file.path) as image:
            large = image.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        large.save(_place(folder, file, f"{Path(file.path).stem}.jpg"), quality=QUALITY)
    return folder


def _choose(source: Source) -> Iterator[ImageFile]:
    """Returns the files of all classes in turn, few of them test images."""
    groups: dict[tuple[bool, str], list[ImageFile]] = defaultdict(list)
    for file in source.files:
        groups[file.split == "test", file.class_name].append(file)
    few = [group[:NUM_TEST] if is_test else group for (is_test, _), group in groups.items()]
    return (file for turn in itertools.zip_longest(*few) for file in turn if file)


def _read(source: Source, file: ImageFile) -> Iterator[tuple[bytes, str]]:
    """Yields the bytes of a file and its suffix, or nothing if some side could not read it."""
    try:
        content = source.read(file)
        decoded = decode(content, 64)
    except ValueError:
        return
    if decoded.format in SUFFIXES and "CMYK" not in decoded.traits:
        yield content, SUFFIXES[decoded.format]


def _place(folder: Path, file: ImageFile, name: str) -> Path:
    path = folder / FOLDERS["test" if file.split == "test" else "train"] / file.class_name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
