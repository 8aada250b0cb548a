"""The layouts of data sets: the split and the class of each image, from the paths in a folder or an archive."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from keras_inat.errors import ExternalError, join_names

# The names of folders, tables and values in tables that stand for each split, in any case.
SPLIT_NAMES = {
    "train": ("train", "training", "training_set", "train_set"),
    "validation": ("val", "valid", "validation", "dev", "validation_set", "val_set"),
    "test": ("test", "testing", "test_set"),
}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
# The folders that this program writes itself, as in iNaturalist-12K: without `test/`, `val/` holds the test images.
FOLDERS = {"train": "train", "test": "val"}
ADVICE = (
    "Rename the folders to train/<Class>/, val/<Class>/ and test/<Class>/, or to <Class>/ alone, or add a table (CSV, "
    "TSV, JSONL) with the columns file and label"
)
# Only files with these suffixes make a folder a class folder. The decoder recognizes images by their contents.
IMAGE_SUFFIX = re.compile(r".\.(jpe?g|png|webp|gif|bmp|tiff?|p[bgp]m|avif|jp2|heic)$", re.IGNORECASE)


Folder = tuple[str, ...]  # the names of a folder and of the folders that it is in, the topmost first


class LabeledFile(NamedTuple):
    """A file with its class."""

    split: str | None  # "train", "validation" or "test"; None if the test images are still to be split off
    class_name: str
    path: str  # the path in the source, with "/" between the folders
    is_nested: bool = False  # True if it lies in a subfolder of its class folder


class Layout(NamedTuple):
    """The labeled files of a data set."""

    files: Sequence[LabeledFile]
    home: str  # the folder with the split or class folders, relative to the source; empty for the source itself
    places: Mapping[str, str]  # the place of each split's images that has one, such as {"train": "train/"}
    notes: Sequence[str] = ()  # a phrase on everything that is not used, or used in an unexpected way
    tables: Sequence[str] = ()  # the paths of the tables that the classes come from


def read_split(name: str) -> str | None:
    """Returns "train", "validation" or "test" for a name of a split in any case, such as `Valid`; otherwise None."""
    return _SPLIT_OF.get(name.strip().casefold())


def find_split_folders(paths: Iterable[str], name: str, num_classes: int = 2) -> Layout | None:
    """Finds `<split>/<Class>/<file>`, at any depth. Of several homes the topmost with two splits is chosen.

    Args:
        paths: The paths in the source, with "/" between the folders.
        name: The source in messages.
        num_classes: The least number of class folders for training images.

    Returns:
        The layout; None if no folder for training images has so many class folders.

    Raises:
        ExternalError: There are several data sets, or two folders for one split, or only other splits than training.
    """
    homes: dict[Folder, dict[str, dict[Folder, list[str]]]] = defaultdict(lambda: defaultdict(dict))
    for folder, files in _group_by_folder(paths).items():
        for depth, part in enumerate(folder):
            if read_split(part):
                homes[folder[:depth]][part][folder[depth + 1 :]] = files
    candidates: dict[Folder, list[_SplitFolder]] = {}
    headless: list[str] = []
    for home, contents in homes.items():
        folders = [_SplitFolder(folder, subfolders) for folder, subfolders in contents.items()]
        if any(folder.split == "train" and len(folder.classes) >= num_classes for folder in folders):
            candidates[home] = folders
        elif _count_splits(folders) > 1 and all(folder.split != "train" for folder in folders):
            headless += [f"{'/'.join((*home, folder.name))}/" for folder in folders]
    if headless and not candidates:
        raise ExternalError(f"{name} has {join_names(headless)}, but no training images: name a folder train/")
    whole = {home: folders for home, folders in candidates.items() if _count_splits(folders) > 1}
    chosen = _choose_topmost(whole or candidates, name)
    return None if chosen is None else _join_folders("/".join(chosen), candidates[chosen], name)


def find_class_folders(paths: Iterable[str], name: str) -> Layout | None:
    """Finds `<Class>/<file>` without splits, at any depth. Of several homes the topmost with two classes is chosen.

    Args:
        paths: The paths in the source, with "/" between the folders.
        name: The source in messages.

    Returns:
        The layout; None if no folder has two subfolders with images.

    Raises:
        ExternalError: There are several data sets.
    """
    folders = _group_by_folder(paths)
    homes: dict[Folder, set[str]] = defaultdict(set)
    for folder, files in folders.items():
        if folder and any(map(IMAGE_SUFFIX.search, files)):
            homes[folder[:-1]].add(folder[-1])
    # A class may be called "train". A folder "test" beside class folders is none of them.
    unlabeled = {home: set(filter(read_split, children)) for home, children in homes.items()}
    classes = {
        home: children if unlabeled[home] == {"train"} else children - unlabeled[home]
        for home, children in homes.items()
    }
    home = _choose_topmost({home: children for home, children in classes.items() if len(children) > 1}, name)
    if home is None:
        return None
    depth = len(home)
    labeled: list[LabeledFile] = []
    for folder, files in folders.items():
        if folder[:depth] == home and len(folder) > depth and folder[depth] in classes[home]:
            labeled += _label(None, folder[depth:], files)
    notes = [_note_unlabeled(child) for child in sorted(unlabeled[home] - classes[home])]
    return Layout(labeled, "/".join(home), {"train": "the class folders"}, notes)


def clean_class(name: str) -> str:
    """Returns the name of a class in Unicode's composed form, without blanks at its ends.

    File systems and archives store one name in several forms, which look the same.
    """
    return unicodedata.normalize("NFC", name).strip()


def use_splits(files: Iterable[LabeledFile], places: Mapping[str, str]) -> tuple[list[LabeledFile], dict[str, str]]:
    """Assigns the splits. Without test images, the validation images are the test images, as in iNaturalist-12K.

    With training images only, the split of every file becomes None: the test images are split off later.
    """
    found = dict(places)
    renamed: dict[str | None, str | None] = {split: split for split in found}
    if "test" not in found and "validation" in found:
        renamed["validation"] = "test"
        found["test"] = found.pop("validation")
    elif "test" not in found:
        renamed["train"] = None
    return [LabeledFile(renamed[file.split], *file[1:]) for file in files], found


def describe_refusal(paths: Sequence[str]) -> str:
    """Returns the contents of a source without a known layout, and the advice on sorting it."""
    folders = sorted({path.rpartition("/")[0] for path in paths if "/" in path})
    num_images = sum(bool(IMAGE_SUFFIX.search(path)) for path in paths)
    found = f"the folders {join_names(f'{name}/' for name in folders)}" if folders else "no folders"
    return f"found {found} and {num_images:,} files with the suffix of an image. {ADVICE}"


def check_classes(layout: Layout, name: str) -> tuple[str, ...]:
    """Returns the sorted classes. `name` is the source in messages.

    Raises:
        ExternalError: The splits have different classes, or there are fewer than two classes, or a name is unusable.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for file in layout.files:
        found[file.split or "train"].add(file.class_name)
    everywhere = set.intersection(*found.values())
    places = {layout.places[split]: found[split] for split in SPLIT_NAMES if split in found}
    differences = [
        f"only in {place}: {join_names(map(repr, sorted(names - everywhere)))}"
        for place, names in places.items()
        if names - everywhere
    ]
    if differences:
        raise ExternalError(
            f"{' and '.join(places)} of {name} have different classes: {'; '.join(differences)}. A class needs images "
            "in each of them, and names that differ in case are different classes: rename or remove some"
        )
    for class_name in everywhere:
        if not class_name or not class_name.isprintable():
            raise ExternalError(f"the name of the class folder {class_name!a} of {name} is not printable: rename it")
    if len(everywhere) < 2:
        raise ExternalError(f"{name} has only one class, {everywhere.pop()!r}: at least 2 are needed")
    return tuple(sorted(everywhere))


class _SplitFolder:
    """A folder named like a split: its classes, and its files in class folders."""

    def __init__(self, name: str, subfolders: Mapping[Folder, Sequence[str]]) -> None:
        self.split = str(read_split(name))
        self.name = name
        # Some archives have doubled folders, such as `test_set/test_set/<Class>/`.
        if all(len(folder) > 1 and read_split(folder[0]) == self.split for folder in subfolders):
            subfolders = {folder[1:]: files for folder, files in subfolders.items()}
        self.files: list[LabeledFile] = []
        for folder, files in subfolders.items():
            if folder:
                self.files += _label(self.split, folder, files)
        self.has_flat_images = any(map(IMAGE_SUFFIX.search, subfolders.get((), ())))
        self.classes = {file.class_name for file in self.files}


def _group_by_folder(paths: Iterable[str]) -> dict[Folder, list[str]]:
    """Returns the paths by their folder, which is split into its parts once for all its files."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[path.rpartition("/")[0]].append(path)
    return {tuple(folder.split("/")) if folder else (): files for folder, files in folders.items()}


def _label(split: str | None, folder: Folder, paths: Iterable[str]) -> Iterator[LabeledFile]:
    """Yields the files of a class folder, or of a subfolder of it, with their class."""
    class_name = clean_class(folder[0])
    for path in paths:
        yield LabeledFile(split, class_name, path, len(folder) > 1)


def _count_splits(folders: Iterable[_SplitFolder]) -> int:
    return len({folder.split for folder in folders if folder.classes})


def _choose_topmost(homes: Mapping[Folder, object], name: str) -> Folder | None:
    depth = min(map(len, homes), default=0)
    topmost = sorted("/".join(home) for home in homes if len(home) == depth)
    if len(topmost) > 1:
        raise ExternalError(f"{name} contains several data sets. Use one of them: {join_names(topmost)}")
    return next((home for home in homes if len(home) == depth), None)


def _join_folders(home: str, folders: Sequence[_SplitFolder], name: str) -> Layout:
    labeled = sorted((folder for folder in folders if folder.classes), key=lambda folder: folder.name)
    places: dict[str, str] = {}
    for folder in labeled:
        if folder.split in places:
            raise ExternalError(
                f"{name} has two folders of {folder.split} images, {places[folder.split]} and {folder.name}/: join "
                "them, or rename one"
            )
        places[folder.split] = f"{folder.name}/"
    notes = [_note_unlabeled(folder.name) for folder in folders if not folder.classes and folder.has_flat_images]
    files, places = use_splits((file for folder in labeled for file in folder.files), places)
    return Layout(files, home, places, sorted(notes))


def _note_unlabeled(folder: str) -> str:
    return f"{folder}/ has no class folders: its images are for `predict`, not for an evaluation"
