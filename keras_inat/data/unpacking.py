"""Unpacking of an archive's images. An interrupted unpacking resumes."""

import os
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from keras_inat.data.archive import REPEATED, open_archive
from keras_inat.data.disk import check_space, file_size
from keras_inat.data.source import ImageFile, Source
from keras_inat.errors import UserError
from keras_inat.files import hold_lock
from keras_inat.progress import track_progress


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks the images of an archive into `folder`, which appears only when it is complete.

    Files of an interrupted call are verified and kept. A complete `folder` is left as it is.

    Args:
        archive: A zip file with `train/<Class>/*` and `val/<Class>/*`, directly or in a folder.
        folder: The folder to be made, with `train/<Class>/*` and `val/<Class>/*`.

    Returns:
        The number of images.

    Raises:
        UserError: `folder` holds something else, the disk is too small, another process unpacks there now, or the
            archive is damaged, malicious or without images.
    """
    temporary = folder.parent / f".{folder.name}.unpacking"
    source = Source(archive)
    targets = _plan_targets(source, temporary)
    folder.parent.mkdir(parents=True, exist_ok=True)
    busy = f"another process is unpacking into {folder}: let it finish first"
    with hold_lock(folder.parent / f".{folder.name}.lock", busy=busy):
        if folder.exists():
            for target, (_, member) in targets.items():
                if not _is_complete(folder / target.relative_to(temporary), member):
                    raise UserError(f"{folder} exists already: delete it first, or give another DATA for {archive}")
            return len(targets)
        _remove_others(temporary, targets.keys())
        missing = sum(max(0, member.file_size - file_size(target)) for target, (_, member) in targets.items())
        check_space(folder, missing, "free some space, or choose a folder on another disk")
        with track_progress(f"unpacking {archive.name}", len(targets), "files") as advance:
            for target, (image, member) in targets.items():
                if not _is_complete(target, member):
                    _write_image(source, image, target)
                advance(1)
        os.sync()
        temporary.rename(folder)
    return len(targets)


def _plan_targets(source: Source, temporary: Path) -> dict[Path, tuple[ImageFile, zipfile.ZipInfo]]:
    """Returns each path to be written, with its image and its member of the archive."""
    targets: dict[Path, tuple[ImageFile, zipfile.ZipInfo]] = {}
    with open_archive(source.path) as members:
        for image in source.files:
            target = temporary / source.place(image)
            if target in targets:
                raise UserError(f"{source.path} is refused: its member {image.path!r} {REPEATED}")
            targets[target] = (image, members.getinfo(image.path))
    return targets


def _write_image(source: Source, image: ImageFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.write_bytes(source.read(image))
    except ValueError as error:
        raise UserError(f"{image.path} in {source.path} {error}") from None


def _is_complete(target: Path, member: zipfile.ZipInfo) -> bool:
    same_size = target.is_file() and target.stat().st_size == member.file_size
    return same_size and zlib.crc32(target.read_bytes()) == member.CRC


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
