"""The files of a complete pack, and their checksums."""

import functools
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from keras_inat.data.scan import pixel_path
from keras_inat.data.source import Source
from keras_inat.files import MAX_HASHED_BYTES, file_size, hash_file, read_text
from keras_inat.log import warn
from keras_inat.store.checksums import WRONG
from keras_inat.store.records import Manifest, PackFiles

CHECKSUMS = "checksums.json"
INDEX = ("index.npz", "paths.json", "scan.json")  # `manifest.json` has a checksum of its own


def write_checksums(home: Path, source: Source, pixels: Iterable[Path]) -> None:
    """Records the checksums of a new index and its pixels, or adds those of new pixels."""
    paths = [*pixels]
    try:
        files = PackFiles.read(home / CHECKSUMS).files
    except (OSError, ValueError):  # the pack is new
        files = {}
        paths += [home / name for name in INDEX]
    files |= {path.name: _hash(path) for path in paths}
    manifest = Manifest.read(home / "manifest.json").hash_without_source
    PackFiles(folder=_name(home), key=source.key, manifest=manifest, files=files).write(home / CHECKSUMS)


def is_complete(home: Path, source: Source, sizes: Sequence[int], fit: str) -> bool:
    """Returns True if a pack has a sound index and sound pixels of every size. Warns about changed files."""
    count = len(source.files)
    lengths = {pixel_path(home, sizes[0], size, fit): count * size * size * 3 for size in sizes}
    if any(file_size(path) != length for path, length in lengths.items()):
        return False
    known = read_checksums(home, source)
    return known is not None and _are_unchanged(lengths, known)


def read_checksums(home: Path, source: Source) -> PackFiles | None:
    """Returns the checksums of a pack; None unless its index is sound and describes the files of the source."""
    try:
        known = PackFiles.read(home / CHECKSUMS)
        if not _are_unchanged([home / name for name in INDEX], known):
            return None
        manifest = Manifest.read(home / "manifest.json")
        paths = json.loads(read_text(home / "paths.json"))
    except (OSError, ValueError):  # missing, damaged or unreadable
        return None
    files = manifest.files
    is_own = (known.folder, known.key, known.manifest) == (_name(home), source.key, manifest.hash_without_source)
    is_whole = len(paths) == len(source.files) == files.train + files.validation + files.test
    return known if is_own and is_whole else None


def _name(home: Path) -> str:
    """Returns the name of a pack. While it is made, that of its folder begins with a dot."""
    return home.name.removeprefix(".")


def _are_unchanged(paths: Iterable[Path], known: PackFiles) -> bool:
    try:
        states = [(path, known.files.get(path.name), path.stat()) for path in paths]
        return all(_is_unchanged(path, digest, state.st_size, state.st_mtime_ns) for path, digest, state in states)
    except OSError:  # missing or unreadable
        return False


def _hash(path: Path) -> str:
    return hash_file(path, limit=sys.maxsize if path.suffix == ".uint8" else MAX_HASHED_BYTES)


@functools.lru_cache(maxsize=64)
def _is_unchanged(path: Path, known: str | None, size: int, changed: int) -> bool:
    """Compares a file with its checksum, once as long as its size and its time stay the same."""
    is_same = _hash(path) == known
    if not is_same:
        warn(f"{path} {WRONG}, and is made anew")
    return is_same
