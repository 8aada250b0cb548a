"""Image files for prediction, decoded in parallel and in order. Unusable files get a warning."""

import contextlib
import functools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_inat.data.archive import read_file
from keras_inat.data.decode import decode_image
from keras_inat.data.decoders import Decoders, describe_lack, limit_time
from keras_inat.files import make_printable
from keras_inat.log import warn
from keras_inat.store.records import Preparation
from keras_inat.workers import list_cores, map_in_threads

# The name of an image and its file, or a function that returns the content of a file that this program has encoded.
NamedFile = tuple[str, Path | Callable[[], bytes]]


def decode_files(files: Iterable[NamedFile], size: int, preparation: Preparation) -> Generator[tuple[str, np.ndarray]]:
    """Yields the name and the pixels `(size, size, 3)` uint8 of each image, as a model with this preparation sees it.

    A file that cannot be read or decoded is skipped with a warning. Files are decoded in other processes.
    """
    decoders = Decoders(len(list_cores()))
    decode = functools.partial(_decode_files, size, preparation)

    def run(file: NamedFile) -> tuple[str, np.ndarray | str]:
        name, place = file
        if isinstance(place, Path):
            return name, decoders.decode(decode, [place.absolute()], _repeat_reason)[0]
        outcome = _decode(place, size, preparation)
        return name, describe_lack(outcome) if isinstance(outcome, MemoryError) else outcome

    with contextlib.closing(map_in_threads(run, files, stop=decoders.close)) as outcomes:
        for name, outcome in outcomes:
            if isinstance(outcome, str):
                warn(f"skipped {make_printable(name)}: it {outcome}")
            else:
                yield name, outcome


def _repeat_reason(_: Path, reason: str) -> np.ndarray | str:
    return reason


def _decode_files(
    size: int, preparation: Preparation, paths: Sequence[Path], memory: int
) -> Iterator[np.ndarray | str | MemoryError]:
    for path in paths:
        yield _decode(functools.partial(read_file, path), size, preparation, memory)


def _decode(
    read: Callable[[], bytes], size: int, preparation: Preparation, memory: int = sys.maxsize
) -> np.ndarray | str | MemoryError:
    """Returns the pixels of a file, or the reason why there are none."""
    try:
        content = read()
        with limit_time():
            return decode_image(content, size, preparation, memory)
    except ValueError as error:
        return str(error)
    except MemoryError as error:
        return error
