"""Image files for prediction, decoded in parallel and in order. Unusable files get a warning."""

import functools
from collections.abc import Callable, Generator, Iterable

import numpy as np

from keras_inat.data.decode import decode_image
from keras_inat.files import make_printable
from keras_inat.log import warn
from keras_inat.store.records import Preparation
from keras_inat.workers import map_in_threads

NamedFile = tuple[str, Callable[[], bytes]]  # the name of an image and a function that reads its file


def decode_files(files: Iterable[NamedFile], size: int, preparation: Preparation) -> Generator[tuple[str, np.ndarray]]:
    """Yields the name and the pixels `(size, size, 3)` uint8 of each image, as a model with this preparation sees it.

    A file that cannot be read or decoded is skipped with a warning.
    """
    decode = functools.partial(_decode, size=size, preparation=preparation)
    for name, outcome in map_in_threads(decode, files):
        if isinstance(outcome, str):
            warn(f"skipped {make_printable(name)}: it {outcome}")
        else:
            yield name, outcome


def _decode(file: NamedFile, size: int, preparation: Preparation) -> tuple[str, np.ndarray | str]:
    """Returns the name of an image, and its pixels or the reason why there are none."""
    name, read = file
    try:
        return name, decode_image(read(), size, preparation)
    except ValueError as error:
        return name, str(error)
    except MemoryError:
        return name, "needs more memory than there is"
    except OSError as error:
        return name, f"cannot be read: {error.strerror or error}"
