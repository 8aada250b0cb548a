"""The packs: decoded pixels on disk, made when they are missing. The command `clean-packs` removes stale ones."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_inat.data.augment import needs_margin
from keras_inat.data.conversion import remove_damaged_copy, remove_stale_copies
from keras_inat.data.decode import stored_size
from keras_inat.data.duplicates import find_different, find_pairs, group_duplicates, renumber_pairs
from keras_inat.data.exclusion import exclude_images
from keras_inat.data.index import VERSION, choose_representatives, name_variant, write_index
from keras_inat.data.pack_files import is_complete, read_checksums, write_checksums
from keras_inat.data.scan import JOURNAL, THUMBNAIL, THUMBNAILS, DecodedFile, pixel_path, scan_files, stack_hashes
from keras_inat.data.source import ImageFile, Source, find_packs, open_source, reopen_source
from keras_inat.data.split import split_test
from keras_inat.errors import PROGRAM, ExternalError, UserError
from keras_inat.files import TEMPORARY_PREFIX, check_space, hold_lock, read_text, remove, write_atomically
from keras_inat.log import warn
from keras_inat.settings.schema import Config, Data
from keras_inat.store.records import Manifest

NUM_NAMED = 10
# A warning suggests other settings if the leaked images are a larger fraction of the training images.
MAX_LEAKED_FRACTION = 0.05
NO_ROWS = np.empty(0, np.int64)
_warned: set[Path] = set()


class Pack(NamedTuple):
    """A pack on disk: the pixels of every file at each size, the thumbnails, and the files of `write_index`.

    The manifest and its hash describe the images without the excluded ones. The files on disk describe all of them.
    """

    directory: Path
    manifest: Manifest
    is_new: bool = False  # True if it was made by this call
    excluded: np.ndarray = NO_ROWS  # `(files,)` int64, the sorted indices of the usable files that are excluded


def load_pack(config: Config) -> Pack:
    """Returns the pack of `data.source` at `data.image_size`. The images are decoded if that was not done before.

    The origins of a new pack's images are printed. Files that cannot be decoded and training images that are duplicates
    of test images are skipped with a warning.

    Raises:
        UserError: The source is missing, has a class with too few usable images, the disk is full, or `data.exclude`
            names something else than training and validation images.
    """
    source = open_source(config)
    packs = find_packs(config)
    home = packs / _name(source, name_variant(source, config.data))
    sizes = list_sizes(config)
    fit = config.data.fit
    is_new = False
    # A complete pack may be in a read-only folder, where no lock can be made.
    if not is_complete(home, source, sizes, fit):
        packs.mkdir(parents=True, exist_ok=True)
        with hold_lock(packs / f"{home.name}.lock"):
            if not is_complete(home, source, sizes, fit):
                if source.root != source.path and remove_damaged_copy(source.root):
                    source = open_source(config)
                is_new = _make(home, source, sizes, config)
    elif _list_leftovers(home):  # of a process that was killed once the pack was complete
        with (
            contextlib.suppress(OSError, UserError),
            hold_lock(packs / f"{home.name}.lock", "another process adds to it"),
        ):
            for left in _list_leftovers(home):
                remove(left)
    manifest = Manifest.read(home / "manifest.json")
    path = str(source.path.resolve())
    if manifest.source != path:  # The images were moved. `remove_stale_packs` needs their path.
        manifest = manifest.model_copy(update={"source": path})
        with contextlib.suppress(OSError):
            manifest.write(home / "manifest.json")
    if home not in _warned:
        _warned.add(home)
        _warn_about_layout(source, config)
        _warn_about_skipped_files(home, manifest)
    if is_new:
        print(f"images: {manifest.origins.describe(config.data.val_fraction, config.data.test_fraction)}", flush=True)
    if not config.data.exclude:
        return Pack(home, manifest, is_new)
    manifest, excluded = exclude_images(manifest, home, config.data.exclude)
    return Pack(home, manifest, is_new, excluded)


def list_sizes(config: Config) -> list[int]:
    """Returns the sides in pixels of the stored images: of the model's input, and of training images if larger."""
    image_size = config.data.image_size
    return [image_size, stored_size(image_size)] if needs_margin(config.augment) else [image_size]


def remove_stale_packs(config: Config) -> list[tuple[str, int, bool]]:
    """Removes packs and copies of archives whose images have changed or are gone, and leftovers of killed processes.

    Packs that another process is making are kept. Returns the name and size of each pack, and True if it was removed.
    """
    packs = find_packs(config)
    rows = []
    for home in sorted(path for path in packs.glob("*") if path.is_dir()):
        size = _count_bytes(home)
        try:
            with hold_lock(packs / f"{home.name.removeprefix('.')}.lock", "another process is making this pack"):
                stale = home.name.startswith(".") or not _is_current(home)
                if stale:
                    remove(home)
        except UserError:
            stale = False
        rows.append((home.name, size, stale))
    return rows + [(name, size, True) for name, size in remove_stale_copies(packs)]


def _make(home: Path, source: Source, sizes: Sequence[int], config: Config) -> bool:
    """Adds sizes to a pack, or makes the pack if it has no index. The caller holds the lock of the pack.

    Returns True if the pack was made.
    """
    num_files = len(source.files)
    # Only a killed process can have left this folder, because the lock is held.
    partial = home.with_name(f".{home.name}")
    needed = num_files * sum(size * size * 3 for size in (*sizes, THUMBNAIL))
    if source.is_unsplit:
        needed += num_files * max(sizes) ** 2 * 3  # a copy while the pixels are sorted
    remedies = f"free some space (`{PROGRAM} clean-packs` removes stale packs), set `data.directory` to another disk"
    check_space(home, needed - _count_bytes(partial), f"{remedies}, or lower `data.image_size`")
    different = find_different(source, config.data)  # before the images are decoded
    fit = config.data.fit
    bit_depth = None if config.data.bit_depth == "auto" else config.data.bit_depth
    decoded, preparation, ranges = scan_files(source, sizes, partial, fit, bit_depth)
    for line in ranges:
        print(line, flush=True)
    files = source.files
    if read_checksums(home, source) is None:
        try:
            pairs = find_pairs(source, decoded, partial, preparation, config.data.near_duplicates, different)
            if source.is_unsplit:
                files, order = _split_off_test(source, decoded, pairs, config.data, home.parent)
                decoded = _arrange(partial, decoded, order)
                pairs = renumber_pairs(pairs, np.argsort(order))
            write_index(source, files, decoded, pairs, partial, preparation, config.data)
            write_checksums(partial, source, [pixel_path(partial, sizes[0], size, fit) for size in sizes])
        except UserError:
            remove(partial)  # Resuming is pointless: the images have to change.
            raise
        remove(home)
        partial.rename(home)
        for path in _list_leftovers(home):
            remove(path)
        return True
    if source.is_unsplit:
        numbers = {file.path: number for number, file in enumerate(files)}
        paths = json.loads(read_text(home / "paths.json"))
        decoded = _arrange(partial, decoded, np.array([numbers[path] for path in paths]))
    with np.load(home / "index.npz") as index:
        hashes = index["hashes"]
    if not np.array_equal(hashes, stack_hashes(decoded)):
        remove(partial)
        raise ExternalError(f"images of {source.path} have changed or could not be read this time: run it again")
    added = [pixel_path(partial, sizes[0], size, fit) for size in sizes]
    write_checksums(home, source, added)
    for path in added:
        remove(home / path.name)  # what is there may be a folder
        path.replace(home / path.name)
    remove(partial)
    return False


def _list_leftovers(home: Path) -> list[Path]:
    """Returns what a complete pack does not need: an unfinished copy, and the files of the search for duplicates."""
    paths = (home.with_name(f".{home.name}"), home / JOURNAL, home / THUMBNAILS, *home.glob(f"{TEMPORARY_PREFIX}*"))
    return [path for path in paths if path.exists()]


def _split_off_test(
    source: Source, decoded: Sequence[DecodedFile], pairs: np.ndarray, data: Data, packs: Path
) -> tuple[list[ImageFile], np.ndarray]:
    """Returns the files with their splits, the test files first, and the number of each in `Source.files`."""
    hashes = stack_hashes(decoded)
    rows = np.flatnonzero([not file.reason for file in decoded])
    groups = group_duplicates(len(decoded), pairs)
    group_hashes = hashes[choose_representatives(groups, hashes)]
    labels = np.searchsorted(source.classes, [file.class_name for file in source.files])
    record = Path(data.directory) / "splits" / f"{source.name.lstrip('.')}-{data.test_fraction:g}.csv"
    if not record.exists() and _was_split(packs, source, data.test_fraction):
        warn(f"{record} is missing, so the test images are chosen anew: earlier runs may have been trained on them")
    test = split_test(
        labels[rows],
        [content.tobytes().hex() for content in group_hashes[rows]],
        [content.tobytes().hex() for content in hashes[rows]],
        data.test_fraction,
        record,
    )
    is_test = np.isin(np.arange(len(decoded)), rows[test])
    order = np.argsort(~is_test, kind="stable")
    files = [source.files[number]._replace(split="test" if is_test[number] else "train") for number in order.tolist()]
    return files, order


def _was_split(packs: Path, source: Source, fraction: float) -> bool:
    """Returns True if there is a pack of an earlier state of the images with the same fraction of test images."""
    manifests = [found for path in packs.glob("*/manifest.json") if (found := Manifest.read_if_sound(path))]
    return any((found.name, found.test_fraction) == (source.name, fraction) for found in manifests)


def _arrange(partial: Path, decoded: Sequence[DecodedFile], order: np.ndarray) -> list[DecodedFile]:
    """Sorts the pixels on disk, so that the test images come first. Returns the records in this order."""
    (partial / JOURNAL).unlink()  # An interrupted scan would take the pixels for those of other files.
    (partial / THUMBNAILS).unlink()  # Duplicates were searched before.
    for path in sorted(partial.glob("*.uint8")):
        pixels = np.memmap(path, np.uint8, "r").reshape(len(order), -1)
        with write_atomically(path) as temporary, open(temporary, "wb") as file:
            for number in order.tolist():
                file.write(pixels[number])
            del pixels  # Windows does not replace a file that is mapped.
    return [decoded[number] for number in order.tolist()]


def _name(source: Source, variant: str) -> str:
    # Names that begin with a dot belong to unfinished packs.
    return f"{source.name.lstrip('.')}-{VERSION}-{variant}{source.key[:12]}"


def _count_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # Another process may have renamed it.
            total += path.stat().st_blocks * 512
    return total


def _is_current(home: Path) -> bool:
    try:
        manifest = Manifest.read(home / "manifest.json")
        source = reopen_source(Path(manifest.source), manifest.table, home.parent)
        return home.name == _name(source, manifest.variant)
    except Exception:  # The images or the manifest are gone or damaged.
        return False


def _warn_about_layout(source: Source, config: Config) -> None:
    """Names everything in the source that is not used, and settings without an effect."""
    for note in source.notes:
        warn(f"{source.path}: {note}")
    given = {"val_fraction": source.origins.validation, "test_fraction": source.origins.test}
    for name, place in given.items():
        if place and getattr(config.data, name) != getattr(Data(), name):
            warn(f"`data.{name}` has no effect: these images are given, in {place}")


def _warn_about_skipped_files(home: Path, manifest: Manifest) -> None:
    """Names the first files that are not used."""
    skipped = [*manifest.quarantined, *manifest.leaked]
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
