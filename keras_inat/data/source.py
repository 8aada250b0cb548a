"""The source of the images: a folder or a zip archive with `train/<Class>/*` and `val/<Class>/*`, and its unpacking."""

import functools
import hashlib
import os
import shutil
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from keras_inat.data.archive import Reader
from keras_inat.errors import PROGRAM, ExternalError, UserError
from keras_inat.files import check_space, file_size, hold_lock
from keras_inat.progress import track_progress
from keras_inat.settings.schema import Config

# Folders by split, as in iNaturalist-12K. Its `val/` folder holds the test images.
FOLDERS = {"train": "train", "test": "val"}
# The drawn data sets, with their training and test images per class: organisms, and other things for pretraining.
DEMOS = {"demo": (200, 50), "demo-things": (120, 10)}


class ImageFile(NamedTuple):
    """A file in a class folder."""

    split: str  # "train" or "test"
    class_name: str  # the name of the class folder
    path: str  # the path in the source
    num_bytes: int  # the size of the file
    fingerprint: str  # changes when the file changes: its times, or its checksum in an archive


class Source:
    """The labeled images of a folder with `train/` and `val/`, of its parent folder, or of a zip archive of either.

    Raises:
        UserError: The images do not have this layout, or the archive is damaged or malicious.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.resolve().name if path.is_dir() else path.resolve().stem
        self._reader = Reader(path)
        # The home is the folder with `train/` and `val/`, relative to `path`; empty for `path` itself.
        self.home, listing = self._list_archive() if self._reader.archive else self._list_folder()
        # All files in the class folders except hidden ones, sorted by split, class and path. Files that are not images
        # are included; `read` and the decoder report them.
        self.files = sorted(listing)
        self.classes = self._check_classes()  # sorted

    @functools.cached_property
    def key(self) -> str:
        """The hash of the files' paths, sizes and fingerprints. It identifies a version of the source."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.path}\0{file.num_bytes}-{file.fingerprint}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read(self, file: ImageFile) -> bytes:
        """Reads one file, as `Reader.read` does. Safe to call from several threads."""
        return self._reader.read(file.path)

    def place(self, file: ImageFile) -> str:
        """Returns the path of a file relative to `home`: `train/<Class>/<file>`, or deeper if it is in a subfolder."""
        return _slashed(file.path)[len(self.home) + 1 if self.home else 0 :]

    def _list_archive(self) -> tuple[str, list[ImageFile]]:
        assert self._reader.archive
        found: dict[tuple[str, ...], list[ImageFile]] = defaultdict(list)
        for entry in self._reader.archive.infolist():
            parts = tuple(_slashed(entry.filename).split("/"))
            if entry.is_dir() or _is_stray(parts):
                continue
            for depth, part in enumerate(parts[:-2]):
                if split := next((split for split, folder in FOLDERS.items() if folder == part), None):
                    file = ImageFile(split, parts[depth + 1], entry.filename, entry.file_size, f"{entry.CRC:08x}")
                    found[parts[:depth]].append(file)
        # As in a folder, the topmost folder with both splits is used.
        whole = [home for home, files in found.items() if len({file.split for file in files}) == len(FOLDERS)]
        homes = [home for home in whole if len(home) == min(map(len, whole))] or list(found)[:1]
        home = self._take_only(["/".join(home) for home in homes])
        return home, found[tuple(home.split("/")) if home else ()]

    def _list_folder(self) -> tuple[str, Iterator[ImageFile]]:
        homes = [self.path, *(child for child in self.path.iterdir() if not _is_stray((child.name,)))]
        whole = [home for home in homes if all((home / name).is_dir() for name in FOLDERS.values())]
        home = self._take_only([] if self.path in whole else [home.name for home in whole])
        return home, self._list_classes(self.path / home)

    def _take_only(self, homes: list[str]) -> str:
        if len(homes) > 1:
            raise ExternalError(f"{self.path} contains several data sets. Use one of them: {', '.join(sorted(homes))}")
        return homes[0] if homes else ""

    def _list_classes(self, home: Path) -> Iterator[ImageFile]:
        for split, folder in FOLDERS.items():
            for directory in sorted((home / folder).glob("*/")):
                if _is_stray((directory.name,)):
                    continue
                entries = [entry for entry in os.scandir(directory) if not _is_stray((entry.name,))]
                if not entries:
                    raise ExternalError(f"the class folder {directory} is empty: add images or remove it")
                place = directory.relative_to(self.path).as_posix()
                for entry in entries:
                    yield ImageFile(split, directory.name, f"{place}/{entry.name}", *_fingerprint(entry))

    def _check_classes(self) -> tuple[str, ...]:
        found = {split: {file.class_name for file in self.files if file.split == split} for split in FOLDERS}
        for split, folder in FOLDERS.items():
            if not found[split]:
                raise ExternalError(f"{self.path} has no class folders {folder}/<Class>/ with images")
        unmatched = {"train": found["train"] - found["test"], "val": found["test"] - found["train"]}
        differences = [f"only in {folder}/: {', '.join(sorted(names))}" for folder, names in unmatched.items() if names]
        if differences:
            raise ExternalError(f"train/ and val/ of {self.path} have different classes: {'; '.join(differences)}")
        for name in found["train"]:
            if not name.isprintable():
                raise ExternalError(f"the name of the class folder {name!a} of {self.path} is not printable: rename it")
        if len(found["train"]) < 2:
            raise ExternalError(f"{self.path} has only one class, {found['train'].pop()!r}: at least 2 are needed")
        return tuple(sorted(found["train"]))


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
    return Source(Path(name))


def check_source(name: str) -> None:
    """Raises a `UserError` if `name` is neither a folder nor an archive nor a drawn data set."""
    path = Path(name)
    if name not in DEMOS and not path.exists():
        raise ExternalError(f"DATA {name!r} does not exist: run `{PROGRAM} data` to download it, or use DATA=demo")
    if name not in DEMOS and not path.is_dir() and path.suffix.lower() != ".zip":
        raise ExternalError(f"DATA must be a folder, a .zip archive or 'demo'. Received: {name!r}.")


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks the images of an archive into `folder`, which appears only when it is complete, and returns their number.

    Files of an interrupted call are verified and kept, unless there are files of another archive among them. A complete
    `folder` is left as it is.

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
        if any(path.is_symlink() or path.is_dir() == (path in targets) for path in temporary.rglob("*")):
            shutil.rmtree(temporary)  # Not everything in it is a file of this archive.
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


def _is_complete(target: Path, image: ImageFile) -> bool:
    if not target.is_file() or target.stat().st_size != image.num_bytes:
        return False
    return f"{zlib.crc32(target.read_bytes()):08x}" == image.fingerprint


def _slashed(path: str) -> str:
    # Some programs write archives with the separators of Windows, or with "./" in front.
    return path.replace("\\", "/").removeprefix("./")


def _fingerprint(entry: os.DirEntry[str]) -> tuple[int, str]:
    """Returns the size in bytes, and the times of the last changes of content, name or permissions."""
    try:
        status = entry.stat()
    except OSError:
        return 0, "broken"
    return status.st_size, f"{status.st_mtime_ns}-{status.st_ctime_ns}"


def _is_stray(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini") for part in parts)
