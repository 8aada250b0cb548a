"""Unpacking of an archive's images, and the check for free disk space. An interrupted unpacking resumes."""

import os
import shutil
import zlib
from collections.abc import Collection
from pathlib import Path

from keras_inat.data.source import ImageFile, Source
from keras_inat.errors import ExternalError, UserError
from keras_inat.files import hold_lock
from keras_inat.progress import track_progress


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks the images of an archive into `folder`, which appears only when it is complete, and returns their number.

    Files of an interrupted call are verified and kept. A complete `folder` is left as it is.

    Raises:
        UserError: `folder` holds something else, the disk is too small, another process unpacks there now, or the
            archive is damaged, malicious or without images.
    """
    temporary = folder.parent / f".{folder.name}.unpacking"
    source = Source(archive)
    targets = {temporary / source.place(image): image for image in source.files}
    folder.parent.mkdir(parents=True, exist_ok=True)
    busy = f"another process is unpacking into {folder}: let it finish first"
    with hold_lock(folder.parent / f".{folder.name}.lock", busy=busy):
        if folder.exists():
            if not all(_is_complete(folder / source.place(image), image) for image in source.files):
                raise UserError(f"{folder} exists already: delete it first, or give another DATA for {archive}")
            return len(targets)
        _remove_others(temporary, targets.keys())
        missing = sum(max(0, image.num_bytes - file_size(target)) for target, image in targets.items())
        check_space(folder, missing, "free some space, or choose a folder on another disk")
        with track_progress(f"unpacking {archive.name}", len(targets), "files") as advance:
            for target, image in targets.items():
                if not _is_complete(target, image):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        target.write_bytes(source.read(image))
                    except ValueError as error:
                        raise UserError(f"{image.path} in {archive} {error}") from None
                advance(1)
        os.sync()
        temporary.rename(folder)
    return len(targets)


def check_space(target: Path, needed: int, hint: str) -> None:
    """Raises an error that ends with `hint` if the disk of `target` has less than `needed` bytes free."""
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ExternalError(
            f"{target} needs {needed / 2**30:.2f} GiB more disk space, but only {free / 2**30:.2f} GiB are free: {hint}"
        )


def file_size(path: Path) -> int:
    """Returns the size of a file in bytes, or 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def _is_complete(target: Path, image: ImageFile) -> bool:
    if not target.is_file() or target.stat().st_size != image.num_bytes:
        return False
    return f"{zlib.crc32(target.read_bytes()):08x}" == image.fingerprint


def _remove_others(temporary: Path, targets: Collection[Path]) -> None:
    """Removes everything in `temporary` except the files `targets` and their folders."""
    kept = {folder for target in targets for folder in target.parents}
    for directory, folders, files in os.walk(temporary, topdown=False):
        for name in (*files, *folders):
            path = Path(directory, name)
            if path.is_symlink() or not (path.is_dir() or path in targets):
                path.unlink()
            elif path.is_dir() and path not in kept:
                path.rmdir()
