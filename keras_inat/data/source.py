"""Where the photographs are: a folder or a zip archive, laid out `train/<Class>/*` and `val/<Class>/*`."""

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from keras_inat.config import Config
from keras_inat.errors import UserError
from keras_inat.progress import show_progress

# The folders of iNaturalist-12K: its `val/` is the unseen part, the test images.
FOLDERS = {"train": "train", "test": "val"}
# What `zipfile` raises for a member that is broken, encrypted or compressed in a way it does not know.
DAMAGED = (zipfile.BadZipFile, zlib.error, RuntimeError)  # NotImplementedError is a RuntimeError
# The drawn data sets, with train and test images a class: the organisms, and other things to pretrain on.
DEMOS = {"demo": (200, 50), "demo-things": (120, 10)}


@dataclass(frozen=True)
class ImageFile:
    """One file of a source: which split and class it belongs to, and what tells it from another version of itself."""

    split: str
    class_name: str
    path: str
    fingerprint: str


class Source:
    """A folder or a zip archive of labelled images.

    Args:
        path: A folder that holds `train/` and `val/`, itself or in a folder of its own, or a `.zip` of such.

    Attributes:
        name: Of the data set, from its folder or archive.
        classes: Sorted names of the class folders.
        files: Every file in the class folders but hidden ones, sorted by split, class and path.

    Raises:
        UserError: When there are no such folders, or the classes of the two differ, or one has no file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.resolve().name if path.is_dir() else path.stem
        self._archive = None if path.is_dir() else self._open_archive()
        listing = self._list_archive() if self._archive else self._list_folder()
        self.files = sorted(listing, key=lambda file: (file.split, file.class_name, file.path))
        self.classes = self._check_classes()

    def read(self, file: ImageFile) -> bytes:
        """The bytes of one file. Safe to call from several threads.

        Raises:
            ValueError: When it cannot be read, saying why.
        """
        try:
            return self._archive.read(file.path) if self._archive else (self.path / file.path).read_bytes()
        except PermissionError:
            raise ValueError("may not be read") from None
        except DAMAGED as error:
            raise ValueError(f"cannot be read from the archive ({error})") from None

    def _open_archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{self.path} cannot be read as a zip archive: {error}") from None

    def _list_archive(self) -> Iterable[ImageFile]:
        assert self._archive
        for entry in self._archive.infolist():
            parts = PurePosixPath(entry.filename).parts
            if entry.is_dir() or _is_stray(parts):
                continue
            for split, folder in FOLDERS.items():
                if len(parts) >= 3 and parts[-3] == folder:
                    yield ImageFile(split, parts[-2], entry.filename, f"{entry.file_size}-{entry.CRC:08x}")

    def _list_folder(self) -> Iterable[ImageFile]:
        homes = [self.path, *sorted(child for child in self.path.iterdir() if child.is_dir())]
        home = next((home for home in homes if (home / "train").is_dir() and (home / "val").is_dir()), self.path)
        for split, folder in FOLDERS.items():
            for directory in sorted((home / folder).glob("*/")):
                if _is_stray((directory.name,)):
                    continue
                empty = True
                for path in directory.iterdir():
                    if path.is_file() and not _is_stray((path.name,)):
                        empty, status = False, path.stat()
                        name = path.relative_to(self.path).as_posix()
                        yield ImageFile(split, directory.name, name, f"{status.st_size}-{status.st_mtime_ns}")
                if empty:
                    raise UserError(f"the class folder {directory} holds no image")

    def _check_classes(self) -> tuple[str, ...]:
        found = {split: {file.class_name for file in self.files if file.split == split} for split in FOLDERS}
        for split, folder in FOLDERS.items():
            if not found[split]:
                raise UserError(f"{self.path} has no {folder}/<Class>/ folders with images")
        if odd := found["train"] ^ found["test"]:
            raise UserError(f"train/ and val/ of {self.path} differ in their classes: {', '.join(sorted(odd))}")
        if len(found["train"]) < 2:
            raise UserError(f"{self.path} has one class only, {found['train'].pop()!r}: nothing to tell apart")
        return tuple(sorted(found["train"]))


def open_source(config: Config) -> Source:
    """Opens what `data.source` names, drawing the demo first when it is asked for.

    Raises:
        UserError: When it is missing, naming the two ways on.
    """
    name = config.data.source
    if name in DEMOS:
        return Source(_draw(name, Path(config.data.directory)))
    path = Path(name)
    if not path.exists():
        raise UserError(f"DATA {name!r} does not exist: run `make data` to download it, or use DATA=demo")
    if not path.is_dir() and path.suffix.lower() != ".zip":
        raise UserError(f"DATA must be a folder, a .zip or 'demo'. Received: {name!r}.")
    return Source(path)


def _draw(name: str, directory: Path) -> Path:
    from keras_inat.data import demo  # here, since no other source needs the drawings

    num_train, num_test = DEMOS[name]
    return demo.write_demo(
        directory / name,
        classes=demo.CLASSES if name == "demo" else demo.OTHER_CLASSES,
        num_train=num_train,
        num_test=num_test,
        report_progress=lambda done, total: show_progress(f"drawing {name}", done, total),
    )


def _is_stray(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini") for part in parts)
