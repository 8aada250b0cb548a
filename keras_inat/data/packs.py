"""The packs on the disk: one is opened, and made where it is missing; stale ones are removed."""

import contextlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np

from keras_inat.data.chunk import THUMBNAIL, pixel_path
from keras_inat.data.index import VERSION, write_index
from keras_inat.data.pack import Pack, training_size
from keras_inat.data.scan import JOURNAL, Scan, scan_files
from keras_inat.data.source import Source, open_source
from keras_inat.errors import ExternalError, UserError
from keras_inat.files import hold_lock
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.data_summary import Manifest

NUM_NAMED = 10
# What reading a damaged file of a pack may raise.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
# Part of the training images above which copies of test images deserve a question.
MANY_LEAKED = 0.05
_warned: set[Path] = set()


def load_pack(config: Config) -> Pack:
    """Opens the pack of `data.source` at `data.image_size`, decoding the images first where that was not yet done.

    Files that are no image are left out with a warning that names them, and so are training images that are copies of
    test images.

    Raises:
        UserError: When the source is missing or has a class without a readable image, or the disk has no room.
    """
    source = open_source(config)
    packs = _packs_folder(config)
    home = packs / _name(source, config.data.near_duplicates)
    image_size = config.data.image_size
    sizes = sorted({image_size, training_size(config)})
    if _list_missing(home, source, image_size, sizes):  # one that is whole may lie where nothing can be written
        packs.mkdir(parents=True, exist_ok=True)
        with hold_lock(packs / f"{home.name}.lock"):
            if missing := _list_missing(home, source, image_size, sizes):
                _make(home, source, image_size, missing, config.data.near_duplicates)
    manifest = Manifest.read(home / "manifest.json")
    place = str(source.path.resolve())
    if manifest.source != place:  # The images were moved. `remove_stale_packs` needs their current place.
        manifest = manifest.model_copy(update={"source": place})
        with contextlib.suppress(OSError):
            manifest.write(home / "manifest.json")
    pack = Pack(home, image_size, manifest)
    pack.training_images(config)  # is open from here on, too
    _warn_about_skipped_files(pack)
    return pack


def _list_missing(home: Path, source: Source, image_size: int, sizes: list[int]) -> list[int]:
    """The sizes of which the pixels are not there; a file of another length was damaged by something else than us."""
    num_files = len(source.files)
    if not _is_whole(home, num_files):
        return sizes
    return [size for size in sizes if _length(pixel_path(home, image_size, size)) != num_files * size * size * 3]


def _make(home: Path, source: Source, image_size: int, missing: list[int], near_duplicates: bool) -> None:
    """Decodes the missing sizes into the pack, or makes it where it is not whole; to be called under its lock."""
    num_files = len(source.files)
    found = _is_whole(home, num_files)
    # Under the lock it can only be what a killed process left.
    partial = home.with_name(f".{home.name}")
    sizes = [image_size, *(size for size in missing if size != image_size)]
    needed = num_files * sum(size * size * 3 for size in (*sizes, THUMBNAIL))
    _check_space(home.parent, needed - _count_bytes(partial))
    scan = scan_files(source, sizes, partial)
    try:
        if found:
            _check_unchanged(source, scan, home)
        else:
            write_index(source, scan, partial, near_duplicates)
    except UserError:
        _remove(partial)  # nothing to go on from: the images have to change
        raise
    if found:
        for size in missing:
            pixel_path(partial, image_size, size).replace(pixel_path(home, image_size, size))
        _remove(partial)
    else:
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
        (home / JOURNAL).unlink()


def remove_stale_packs(config: Config) -> list[tuple[str, int, bool]]:
    """Removes the packs whose images have changed or are gone, and what killed processes left.

    Returns:
        A row a pack: name, size in bytes, whether it was removed. A pack that is being made stays.
    """
    packs, rows = _packs_folder(config), []
    for home in sorted(path for path in packs.glob("*") if path.is_dir()):
        size = _count_bytes(home)
        try:
            with hold_lock(packs / f"{home.name.removeprefix('.')}.lock", "at work"):
                stale = home.name.startswith(".") or not _is_current(home)
                if stale:
                    _remove(home)
        except UserError:
            stale = False
        rows.append((home.name, size, stale))
    return rows


def _packs_folder(config: Config) -> Path:
    return Path(config.data.directory) / ".packs"


def _name(source: Source, near_duplicates: bool) -> str:
    # A name that begins with a dot is that of a pack in the making.
    return f"{source.name.lstrip('.')}-{VERSION}-{'' if near_duplicates else 'identical-'}{source.key[:12]}"


def _remove(partial: Path) -> None:
    (partial / JOURNAL).unlink(missing_ok=True)  # before what it speaks of
    shutil.rmtree(partial)


def _count_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process renamed it
            total += path.stat().st_blocks * 512
    return total


def _check_unchanged(source: Source, scan: Scan, home: Path) -> None:
    """Pixels that are added must be of the files that the index speaks of."""
    with np.load(home / "index.npz") as index:
        if not np.array_equal(index["hashes"], scan.hashes):
            raise ExternalError(f"images of {source.path} changed or could not be read this time: run it again")


def _is_whole(home: Path, num_files: int) -> bool:
    """Whether the index is there and can be read; what something else has damaged is made anew."""
    try:
        manifest = Manifest.read(home / "manifest.json")
        Manifest.read(home / "scan.json")
        with np.load(home / "index.npz") as index:
            lengths = {len(index[name]) for name in ("labels", "used", "hashes", "representative")}
        lengths.add(len(json.loads((home / "paths.json").read_text(encoding="utf-8"))))
        return lengths == {num_files} == {manifest.files.train + manifest.files.test}
    except DAMAGED:
        return False


def _is_current(home: Path) -> bool:
    try:
        manifest = Manifest.read(home / "manifest.json")
        return home.name == _name(Source(Path(manifest.source)), manifest.near_duplicates)
    except (*DAMAGED, UserError):
        return False


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExternalError(
            f"the decoded pixels need {needed / 2**20:,.0f} MiB in {folder}, {free / 2**20:,.0f} MiB are free: make "
            "room (`make clean-packs` removes old ones), or set `data.directory`, or a smaller `data.image_size`"
        )


def _warn_about_skipped_files(pack: Pack) -> None:
    """Names the first files that are not used, once per process and pack."""
    manifest = pack.manifest
    skipped = [*manifest.quarantined, *manifest.leaked]
    if pack.directory in _warned or not skipped:
        return
    _warned.add(pack.directory)
    for file in skipped[:NUM_NAMED]:
        warn(f"skipped {file.path}: it {file.reason}")
    total = manifest.num_quarantined + manifest.num_leaked
    if total > NUM_NAMED:
        warn(f"skipped {total - NUM_NAMED} more files, listed in {pack.directory / 'scan.json'}")
    if manifest.near_duplicates and manifest.num_leaked > MANY_LEAKED * manifest.counts.train:
        warn(
            f"{manifest.num_leaked:,} training images look like test images and are excluded. If the images are "
            "drawings or letters, set `data.near_duplicates=false`: then only identical files count as duplicates"
        )
