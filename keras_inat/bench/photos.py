"""The files that all sides read: images of the data as they are, and some of them enlarged."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from keras_inat.data.decode import decode
from keras_inat.data.source import FOLDERS, ImageFile, Source

# Of a large data set a part will do, of small files all the same enough that starting processes does not weigh.
MAX_FILES, MAX_BYTES = 4_000, 2**26
# Images for the test, a class: nearly all are for training, since only those are served.
NUM_TEST = 5
LARGE, NUM_LARGE, QUALITY = (800, 600), 384, 90
# What every side can read, by its file name's end.
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}


def write_own(source: Source, folder: Path) -> Path:
    """Copies images of `source` into `folder`, laid out `train/<Class>/`, `val/<Class>/`; gives `folder`."""
    num_bytes = 0
    readable = ((file, content, suffix) for file in _choose(source) for content, suffix in _read(source, file))
    for number, (file, content, suffix) in enumerate(itertools.islice(readable, MAX_FILES)):
        _place(folder, file, f"{number:05}{suffix}").write_bytes(content)
        num_bytes += len(content)
        if num_bytes > MAX_BYTES:
            break
    return folder


def write_large(own: Path, folder: Path) -> Path:
    """Enlarges some images that `write_own` wrote to JPEGs of the size that photographs come in."""
    source = Source(own)
    for file in itertools.islice(_choose(source), NUM_LARGE):
        with Image.open(own / file.path) as image:
            large = image.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        large.save(_place(folder, file, f"{Path(file.path).stem}.jpg"), quality=QUALITY)
    return folder


def _choose(source: Source) -> Iterator[ImageFile]:
    """The files class by class in turn, a few of each for the test."""
    groups: dict[tuple[str, str], list[ImageFile]] = defaultdict(list)
    for file in source.files:
        groups[file.split, file.class_name].append(file)
    few = [group[:NUM_TEST] if split == "test" else group for (split, _), group in groups.items()]
    return (file for turn in itertools.zip_longest(*few) for file in turn if file)


def _read(source: Source, file: ImageFile) -> Iterator[tuple[bytes, str]]:
    """The bytes of a file and how its name should end; nothing where one of the sides could not read it."""
    try:
        content = source.read(file)
        decoded = decode(content, 64)
    except ValueError:
        return
    if decoded.format in SUFFIXES and "CMYK" not in decoded.traits:
        yield content, SUFFIXES[decoded.format]


def _place(folder: Path, file: ImageFile, name: str) -> Path:
    path = folder / FOLDERS[file.split] / file.class_name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
