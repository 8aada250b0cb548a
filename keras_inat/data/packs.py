"""The packs: decoded pixels on disk, made when they are missing. The command `clean-packs` removes stale ones."""

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inat.data.augment import needs_margin
from keras_inat.data.decode import stored_size
from keras_inat.data.index import VERSION, write_index
from keras_inat.data.scan import JOURNAL, THUMBNAIL, pixel_path, scan_files, stack_hashes
from keras_inat.data.source import Source, open_source
from keras_inat.errors import PROGRAM, ExternalError, UserError
from keras_inat.files import check_space, file_size, hold_lock
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.records import Manifest

NUM_NAMED = 10
# A warning suggests other settings if the leaked images are a larger fraction of the training images.
MAX_LEAKED_FRACTION = 0.05
_warned: set[Path] = set()


class Pack(NamedTuple):
    """A pack on disk: the pixels of every file at each size, the thumbnails, and the files of `write_index`."""

    directory: Path
    manifest: Manifest


def load_pack(config: Config) -> Pack:
    """Returns the pack of `data.source` at `data.image_size`. The images are decoded if that was not done before.

    Files that cannot be decoded and training images that are duplicates of test images are skipped with a warning.

    Raises:
        UserError: The source is missing, has a class with too few usable images, or the disk is full.
    """
    source = open_source(config)
    packs = Path(config.data.directory) / ".packs"
    home = packs / _name(source, config.data.near_duplicates, config.data.bit_depth)
    sizes = list_sizes(config)
    fit = config.data.fit
    # A complete pack may be in a read-only folder, where no lock can be made.
    if not _is_complete(home, source, sizes, fit):
        packs.mkdir(parents=True, exist_ok=True)
        with hold_lock(packs / f"{home.name}.lock"):
            if not _is_complete(home, source, sizes, fit):
                _make(home, source, sizes, config)
    manifest = Manifest.read(home / "manifest.json")
    path = str(source.path.resolve())
    if manifest.source != path:  # The images were moved. `remove_stale_packs` needs their path.
        manifest = manifest.model_copy(update={"source": path})
        with contextlib.suppress(OSError):
            manifest.write(home / "manifest.json")
    _warn_about_skipped_files(home, manifest)
    return Pack(home, manifest)


def list_sizes(config: Config) -> list[int]:
    """Returns the sides in pixels of the stored images: of the model's input, and of training images if larger."""
    image_size = config.data.image_size
    return [image_size, stored_size(image_size)] if needs_margin(config.augment) else [image_size]


def remove_stale_packs(config: Config) -> list[tuple[str, int, bool]]:
    """Removes the packs whose images have changed or are gone, and the leftovers of killed processes.

    Packs that another process is making are kept. Returns the name and size of each pack, and True if it was removed.
    """
    packs = Path(config.data.directory) / ".packs"
    rows = []
    for home in sorted(path for path in packs.glob("*") if path.is_dir()):
        size = _count_bytes(home)
        try:
            with hold_lock(packs / f"{home.name.removeprefix('.')}.lock", "another process is making this pack"):
                stale = home.name.startswith(".") or not _is_current(home)
                if stale:
                    shutil.rmtree(home)
        except UserError:
            stale = False
        rows.append((home.name, size, stale))
    return rows


def _make(home: Path, source: Source, sizes: Sequence[int], config: Config) -> None:
    """Adds sizes to a pack, or makes the pack if it has no index. The caller holds the lock of the pack."""
    num_files = len(source.files)
    # Only a killed process can have left this folder, because the lock is held.
    partial = home.with_name(f".{home.name}")
    needed = num_files * sum(size * size * 3 for size in (*sizes, THUMBNAIL))
    remedies = f"free some space (`{PROGRAM} clean-packs` removes stale packs), set `data.directory` to another disk"
    check_space(home, needed - _count_bytes(partial), f"{remedies}, or lower `data.image_size`")
    fit = config.data.fit
    bit_depth = None if config.data.bit_depth == "auto" else config.data.bit_depth
    decoded, preparation, ranges = scan_files(source, sizes, partial, fit, bit_depth)
    for line in ranges:
        print(line, flush=True)
    if not _has_index(home, num_files):
        try:
            write_index(source, decoded, partial, config.data.near_duplicates, preparation)
        except UserError:
            shutil.rmtree(partial)  # Resuming is pointless: the images have to change.
            raise
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
        (home / JOURNAL).unlink()
        return
    with np.load(home / "index.npz") as index:
        hashes = index["hashes"]
    if not np.array_equal(hashes, stack_hashes(decoded)):
        shutil.rmtree(partial)
        raise ExternalError(f"images of {source.path} have changed or could not be read this time: run it again")
    for size in sizes:
        pixel_path(partial, sizes[0], size, fit).replace(pixel_path(home, sizes[0], size, fit))
    shutil.rmtree(partial)


def _name(source: Source, near_duplicates: bool, bit_depth: int | str) -> str:
    kinds = f"{'' if near_duplicates else 'identical-'}{'' if bit_depth == 'auto' else f'{bit_depth}-bit-'}"
    # Names that begin with a dot belong to unfinished packs.
    return f"{source.name.lstrip('.')}-{VERSION}-{kinds}{source.key[:12]}"


def _count_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # Another process may have renamed it.
            total += path.stat().st_blocks * 512
    return total


def _is_complete(home: Path, source: Source, sizes: Sequence[int], fit: str) -> bool:
    count = len(source.files)
    has_pixels = all(file_size(pixel_path(home, sizes[0], size, fit)) == count * size * size * 3 for size in sizes)
    return has_pixels and _has_index(home, count)


def _has_index(home: Path, num_files: int) -> bool:
    """Returns True if the files of the index exist, are not damaged and describe `num_files` files."""
    try:
        manifest = Manifest.read(home / "manifest.json")
        Manifest.read(home / "scan.json")
        with np.load(home / "index.npz") as index:
            lengths = {len(index[name]) for name in ("labels", "used", "hashes", "representative")}
        lengths.add(len(json.loads((home / "paths.json").read_text(encoding="utf-8"))))
        return lengths == {num_files} == {manifest.files.train + manifest.files.test}
    except Exception:  # Reading damaged files raises many classes.
        return False


def _is_current(home: Path) -> bool:
    try:
        manifest = Manifest.read(home / "manifest.json")
        source = Source(Path(manifest.source))
        return home.name in {_name(source, manifest.near_duplicates, depth) for depth in ("auto", manifest.bit_depth)}
    except Exception:  # The images or the manifest are gone or damaged.
        return False


def _warn_about_skipped_files(home: Path, manifest: Manifest) -> None:
    """Names the first files that are not used, once per process and pack."""
    skipped = [*manifest.quarantined, *manifest.leaked]
    if home in _warned or not skipped:
        return
    _warned.add(home)
    for file in skipped[:NUM_NAMED]:
        warn(f"skipped {file.path}: it {file.reason}")
    total = manifest.num_quarantined + manifest.num_leaked
    if total > NUM_NAMED:
        warn(f"skipped {total - NUM_NAMED} more files, listed in {home / 'scan.json'}")
    if manifest.near_duplicates and manifest.num_leaked > MAX_LEAKED_FRACTION * manifest.counts.train:
        warn(
            f"{manifest.num_leaked:,} training images look like test images and are excluded. If the images are "
            "drawings or letters, set `data.near_duplicates=false`: then only identical files count as duplicates"
        )
