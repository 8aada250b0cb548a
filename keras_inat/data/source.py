"""The source of the images: a folder or an archive of labeled images, in a known layout."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from keras_inat.data.archive import Listing, Reader
from keras_inat.data.conversion import SUFFIXES, check_suffix, convert, find_converted, remove_suffix
from keras_inat.data.layouts import (
    IMAGE_SUFFIX,
    Layout,
    check_classes,
    describe_refusal,
    find_class_folders,
    find_split_folders,
    read_split,
)
from keras_inat.data.tables import describe_tables, find_tables
from keras_inat.errors import PROGRAM, ExternalError, join_names
from keras_inat.files import suggest_path
from keras_inat.settings.schema import Config
from keras_inat.store.records import Origins, TableSettings

# The drawn data sets, with their training and test images per class: organisms, and other things for pretraining.
DEMOS = {"demo": (200, 50), "demo-things": (120, 10)}


# The order of the files. Of duplicates in several splits, the images of all but the first are leaks.
SPLITS = ("test", "validation", "train")


class ImageFile(NamedTuple):
    """A file with a class."""

    split: str | None  # "train", "validation" or "test"; None if the test images are still to be split off
    class_name: str  # the name of the class folder, or the class in the table
    path: str  # the path in the source
    num_bytes: int  # the size of the file
    fingerprint: str  # changes when the file changes: its times, or its checksum in an archive
    is_nested: bool = False  # True if it is in a subfolder of its class folder


class Source:
    """The labeled images of a folder or an archive.

    Args:
        path: The folder or archive. For a folder of one split, such as `photos/train`, the folder above it is used if
            the other splits are there.
        table: The table that gives the classes, and its columns, where the user has named them.
        packs: The folder in which an archive without random access is copied into a zip archive.

    Raises:
        UserError: The images have no known layout, or the archive is damaged or malicious.
    """

    def __init__(self, path: Path, table: TableSettings | None = None, packs: Path | None = None) -> None:
        self.table = table or TableSettings()
        path, self._reader, listing, layout, notes = _open(path, self.table, packs)
        self.path = path
        self.name = path.resolve().name if path.is_dir() else remove_suffix(path.resolve().name)
        # The folder with the split folders, the class folders or the table, relative to `path`; empty for `path`.
        self.home = layout.home
        self.tables = tuple(layout.tables)  # the paths of the tables that the classes come from
        # A phrase on everything that is not used, or used in an unexpected way.
        self.notes = (*notes, *layout.notes, *_note_unused(listing, layout))
        self.origins = Origins(**layout.places)
        _check_empty(listing, layout, path)
        self.classes = check_classes(layout, str(path))  # sorted
        # All labeled files, sorted by split, as in `SPLITS`, class and path. Files that are not images are included;
        # `read` and the decoder report them. So are files that only a table names.
        files = (
            ImageFile(file.split, file.class_name, name, *self._reader.describe(name), file.is_nested)
            for file in layout.files
            for name in [listing.files.get(file.path, file.path)]
        )
        self.files = sorted(files, key=lambda file: (SPLITS.index(file.split or "train"), *file[1:]))

    @property
    def root(self) -> Path:
        """The folder or zip archive that the images are read from: `path`, or the copy of an archive."""
        return self._reader.path

    @property
    def is_unsplit(self) -> bool:
        """True if the test images are split off from the training images."""
        return self.origins.test is None

    @functools.cached_property
    def key(self) -> str:
        """The hash of all that `files` holds. It identifies a version of the source."""
        digest = hashlib.sha256()
        for file in self.files:
            line = f"{file.split}\0{file.class_name}\0{file.path}\0{file.num_bytes}-{file.fingerprint}\0"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read(self, file: ImageFile) -> bytes:
        """Reads one file, as `Reader.read` does. Safe to call from several threads."""
        return self._reader.read(file.path)

    def list_members(self) -> dict[str, ImageFile]:
        """Returns the images and tables to unpack, by their path relative to `home`."""
        tables = (ImageFile(None, "", path, *self._reader.describe(path)) for path in self.tables)
        members = (*self.files, *tables)
        start = len(self.home) + 1 if self.home else 0
        return {file.path.replace("\\", "/").removeprefix("./")[start:]: file for file in members if file.fingerprint}


def open_source(config: Config) -> Source:
    """Opens the source that `data.source` names. A demo data set is drawn first if it does not exist."""
    name = config.data.source
    if name in DEMOS:
        from keras_inat.demo import classes, dataset  # imported here because no other source needs them

        num_train, num_test = DEMOS[name]
        drawn = classes.ORGANISMS if name == "demo" else classes.THINGS
        directory = Path(config.data.directory) / name
        return Source(dataset.write_demo(directory, classes=drawn, num_train=num_train, num_test=num_test))
    check_source(name)
    data = config.data
    table = TableSettings(path=data.table, file=data.file_column, label=data.label_column, split=data.split_column)
    return Source(Path(name), table, find_packs(config))


def reopen_source(path: Path, table: TableSettings, packs: Path) -> Source:
    """Opens the source of a pack again. Raises an error if that would mean to copy an archive."""
    if not path.is_dir() and not find_converted(path, packs).exists():
        raise ExternalError(f"{path} has no copy in {packs}")
    return Source(path, table, packs)


def find_packs(config: Config) -> Path:
    """Returns the folder of the packs, and of the copies of archives."""
    return Path(config.data.directory) / ".packs"


def check_source(name: str) -> None:
    """Raises a `UserError` if `name` is neither a folder nor an archive nor a drawn data set."""
    path = Path(name)
    if name in DEMOS or path.is_dir():
        return
    if not path.exists():
        hint = suggest_path(name)
        remedy = f".{hint}" if hint else f": run `{PROGRAM} data` to download it, or use DATA=demo"
        raise ExternalError(f"DATA {name!r} does not exist{remedy}")
    if not path.is_file():  # reading a pipe or a device may never end
        raise ExternalError(f"DATA {name!r} is neither a folder nor a regular file")
    check_suffix(path)


class _Opened(NamedTuple):
    path: Path
    reader: Reader
    listing: Listing
    layout: Layout
    notes: tuple[str, ...]


def _open(path: Path, table: TableSettings, packs: Path | None) -> _Opened:
    """Opens a folder, or the folder above it if `path` is one split of it, or an archive."""
    reader = Reader(path if path.is_dir() or packs is None else convert(path, packs))
    listing = reader.list_files()
    layout = _find_layout(listing, reader, table, str(path))
    if parent := _find_parent(path, layout):
        above = Reader(parent)
        others = above.list_files()
        whole = find_split_folders([name for name in others.files if read_split(name.split("/")[0])], str(parent))
        if whole and len(whole.places) > 1:
            return _Opened(parent, above, others, whole, (f"{path} is one split of {parent}, which is used",))
    layout = layout or find_split_folders(listing.files, str(path), num_classes=1)
    if layout is None:
        raise ExternalError(f"{path} has no classes: {_describe_contents(listing, reader)}")
    return _Opened(path, reader, listing, layout, ())


def _find_layout(listing: Listing, reader: Reader, table: TableSettings, name: str) -> Layout | None:
    """Returns the layout of the files. A table that the user named comes first, then split folders, then tables."""
    paths = list(listing.files)
    read = _read_from(listing, reader)
    if table.path:
        return find_tables(paths, read, table, name)
    return find_split_folders(paths, name) or find_tables(paths, read, table, name) or find_class_folders(paths, name)


def _read_from(listing: Listing, reader: Reader) -> Callable[[str], bytes]:
    return lambda path: reader.read(listing.files[path])


def _describe_contents(listing: Listing, reader: Reader) -> str:
    """Returns the contents of a source without a known layout, and the way on."""
    paths = list(listing.files)
    if archives := [path for path in paths if path.lower().endswith(SUFFIXES)]:
        return f"give one of the archives in it: {join_names(archives)}"
    return describe_refusal(paths) + describe_tables(paths, _read_from(listing, reader))


def _find_parent(path: Path, layout: Layout | None) -> Path | None:
    """Returns the folder above `path` if `path` is one of several split folders in it."""
    if not path.is_dir() or not read_split(path.absolute().name):
        return None
    if layout and (layout.home or layout.tables or len(layout.places) > 1):
        return None
    parent = path.parent if path.name else path.absolute().parent
    with contextlib.suppress(PermissionError):
        if sum(bool(read_split(entry.name)) for entry in os.scandir(parent)) > 1:
            return parent
    return None


def _check_empty(listing: Listing, layout: Layout, path: Path) -> None:
    """Raises an error if a class folder is empty in one split."""
    start = f"{layout.home}/" if layout.home else ""
    for folder in listing.empty_folders:
        parts = folder.removeprefix(start).split("/")
        if folder.startswith(start) and len(parts) == 2 and f"{parts[0]}/" in layout.places.values():
            raise ExternalError(f"the class folder {path / folder} is empty: add images or remove it")


def _note_unused(listing: Listing, layout: Layout) -> list[str]:
    """Returns a note on images outside of the class folders. Unlabeled images of a split have one already."""
    if layout.tables:
        return []
    used = {file.path for file in layout.files}
    others = [path for path in listing.files if IMAGE_SUFFIX.search(path) and path not in used]
    count = sum(not read_split(path.rpartition("/")[0].rpartition("/")[2]) for path in others)
    return [f"images that lie in no class folder and are not used: {count:,}"] if count else []
