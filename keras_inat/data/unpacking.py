"""The unpacking of an archive into a folder. An interrupted unpacking resumes."""

import os
import zlib
from pathlib import Path

from keras_inat.data.conversion import remove_copy
from keras_inat.data.source import ImageFile, Source
from keras_inat.errors import UserError
from keras_inat.files import check_space, file_size, hold_lock, remove
from keras_inat.progress import track_progress


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks the images of an archive into `folder`, which appears only when it is complete, and returns their number.

    Files of an interrupted call are verified and kept, unless there are files of another archive among them. A complete
    `folder` is left as it is. An archive without random access is copied into a zip archive beside `folder` meanwhile.

    Raises:
        UserError: `folder` holds something else, the disk is too small, another process unpacks there now, or the
            archive is damaged, malicious or without images.
    """
    temporary = folder.parent / f".{folder.name}.unpacking"
    source = Source(archive, packs=folder.parent)
    members = source.list_members()
    targets = {temporary / place: member for place, member in members.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    busy = f"another process is unpacking into {folder}: let it finish first"
    with hold_lock(folder.parent / f".{folder.name}.lock", busy=busy):
        if folder.exists():
            if not all(_is_complete(folder / place, member) for place, member in members.items()):
                raise UserError(f"{folder} exists already: delete it first, or give another DATA for {archive}")
        else:
            _fill(temporary, folder, targets, source)
            temporary.rename(folder)
    if source.root != archive:
        remove_copy(source.root)
    return len(source.files)


def _fill(temporary: Path, folder: Path, targets: dict[Path, ImageFile], source: Source) -> None:
    """Writes the files that are missing in the temporary folder of `folder`."""
    paths = [temporary, *temporary.rglob("*")]
    if any(path.is_symlink() or path.is_dir() == (path in targets) for path in paths):
        remove(temporary)  # Not everything in it is a file of this archive.
    missing = sum(max(0, member.num_bytes - file_size(target)) for target, member in targets.items())
    check_space(folder, missing, "free some space, or choose a folder on another disk")
    with track_progress(f"unpacking {source.path.name}", len(targets), "files") as advance:
        for target, member in targets.items():
            if not _is_complete(target, member):
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    target.write_bytes(source.read(member))
                except ValueError as error:
                    raise UserError(f"{member.path} in {source.path} {error}") from None
            advance(1)
    os.sync()


def _is_complete(target: Path, image: ImageFile) -> bool:
    if not target.is_file() or target.stat().st_size != image.num_bytes:
        return False
    return f"{zlib.crc32(target.read_bytes()):08x}" == image.fingerprint
