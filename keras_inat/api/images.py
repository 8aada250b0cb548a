"""Images for the API: a folder or an archive, as on the command line, or pixels in memory."""

import functools
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_inat.data.layouts import FOLDERS
from keras_inat.data.reading import NamedFile
from keras_inat.errors import UserError
from keras_inat.files import TEMPORARY_PREFIX, list_files, remove, suggest_path
from keras_inat.progress import track_progress

# `data` of the API: a path, "demo", a pair of arrays or a `tf.data.Dataset`, or these for "train" and for "test".
Images = Any
TEST_FRACTION = 0.2


def place_images(data: Images, directory: str) -> str:
    """Returns the value of DATA for images. Pixels in memory are written to a folder in `directory` first.

    Args:
        data: One of

            - a path: a folder or archive of labeled images, in any of the layouts of the documentation, or "demo";
            - `(images, labels)`: pixels `(n, height, width, 3)` from 0 to 255, and `(n,)` integers or names. A fifth of
              each class, chosen by its position, becomes the test images;
            - a `tf.data.Dataset` of images and labels, batched or not;
            - `{"train": ..., "test": ...}` with one of the two before for each.
        directory: The folder of data sets.

    Raises:
        UserError: The pixels or labels cannot be used.
    """
    if isinstance(data, str | os.PathLike):
        return os.fspath(data)
    if isinstance(data, Mapping):
        if set(data) != set(FOLDERS):
            raise UserError(f"data as a dictionary must have the keys 'train' and 'test'. Received: {sorted(data)}.")
        splits = {split: _read_arrays(data[split]) for split in FOLDERS}
    else:
        splits = _split(*_read_arrays(data))
    digest = hashlib.sha256()
    for images, labels in splits.values():
        digest.update(images.tobytes() + repr((images.shape, labels)).encode())
    folder = Path(directory).expanduser() / f"arrays-{digest.hexdigest()[:12]}"
    if not folder.exists():
        _write(folder, splits)
    return str(folder)


def _read_arrays(data: Any) -> tuple[np.ndarray, list[str]]:
    """Returns pixels `(n, height, width, 3)` uint8 and the class of each."""
    if hasattr(data, "as_numpy_iterator"):
        pairs = [(np.asarray(images), np.asarray(labels)) for images, labels in data.as_numpy_iterator()]
        if not pairs:
            raise UserError("the tf.data.Dataset has no images")
        join = np.concatenate if pairs[0][0].ndim == 4 else np.stack
        data = (join([images for images, _ in pairs]), join([labels for _, labels in pairs]))
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UserError(f"data must be a path, (images, labels) or a tf.data.Dataset. Received: {type(data).__name__}.")
    images = np.asarray(data[0])
    labels = np.asarray(data[1])
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)  # one-hot
    labels = labels.reshape(-1)
    if images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(labels):
        raise UserError(
            "images must have the shape (n, height, width, 3), and labels the shape (n,). Received: "
            f"{images.shape} and {labels.shape}."
        )
    images = round_pixels(images)
    names = [label.decode() if isinstance(label, bytes) else str(label) for label in labels.tolist()]
    return images, names


def round_pixels(pixels: np.ndarray) -> np.ndarray:
    """Returns pixels of any shape as uint8. Raises a `UserError` unless they are from 0 to 255."""
    if pixels.dtype == np.uint8:
        return pixels
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 255 or pixels.max() <= 1:
        raise UserError(
            f"pixels must be from 0 to 255. Received: {pixels.dtype} from {pixels.min():g} to {pixels.max():g}."
        )
    return np.rint(pixels).astype(np.uint8)


def open_images(images: Any) -> Iterator[NamedFile]:
    """Yields a name for each image, and its file or a function that returns the content of one."""
    if isinstance(images, str | os.PathLike):
        path = Path(images).expanduser()
        if not path.exists():
            raise UserError(
                f"{str(images)!r} does not exist: give an image file or a folder of images.{suggest_path(path)}"
            )
        files = list_files(path) if path.is_dir() else [path]
        for file in files:
            yield str(file), file
    elif isinstance(images, Image.Image):
        content = _encode(images)  # not in a thread: the same image may be given twice
        yield "image", lambda: content
    elif isinstance(images, np.ndarray):
        for number, pixels in enumerate(images if images.ndim == 4 else images[None]):
            yield f"image {number}", functools.partial(_encode, _to_picture(pixels))
    elif isinstance(images, Iterable):
        for number, image in enumerate(images):
            for name, read in open_images(image):
                yield (name if isinstance(image, str | os.PathLike) else f"image {number}"), read
    else:
        raise UserError(f"images must be paths, images of Pillow or arrays. Received: {type(images).__name__}.")


def _to_picture(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise UserError(f"pixels must have the shape (height, width, 3). Received: {pixels.shape}.")
    return Image.fromarray(round_pixels(pixels))


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    if image.mode in ("I;16", "F"):  # `convert` would clip these values instead of scaling them.
        image.save(buffer, "TIFF")
    else:
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _split(images: np.ndarray, labels: list[str]) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Splits off the last images of each class for the test."""
    is_test = np.zeros(len(labels), bool)
    for name in set(labels):
        rows = np.flatnonzero(np.array(labels) == name)
        is_test[rows[len(rows) - max(1, round(TEST_FRACTION * len(rows))) :]] = True
    splits = {}
    for split, chosen in (("train", ~is_test), ("test", is_test)):
        splits[split] = (images[chosen], [labels[row] for row in np.flatnonzero(chosen)])
    return splits


def _write(folder: Path, splits: Mapping[str, tuple[np.ndarray, Iterable[str]]]) -> None:
    """Writes the images as PNG files. The folder appears when all of them are written."""
    partial = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}")
    remove(partial)
    total = sum(len(images) for images, _ in splits.values())
    with track_progress(f"writing {folder.name}", total, "images") as advance:
        for split, (images, labels) in splits.items():
            for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
                if "/" in label or label.startswith("."):
                    raise UserError(f"a class must not begin with '.' or contain '/'. Received: {label!r}.")
                directory = partial / FOLDERS[split] / label
                directory.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(directory / f"{number:06d}.png")
                advance(1)
    partial.rename(folder)
