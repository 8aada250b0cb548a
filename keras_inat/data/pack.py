"""Decoded pixels: every image is opened once, then served from a memory map."""

import functools
import json
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.data.augment import moves
from keras_inat.data.chunk import THUMBNAIL, pixel_path
from keras_inat.data.decode import stored_size
from keras_inat.data.index import VERSION, write_index
from keras_inat.data.scan import JOURNAL, Scan, scan_files
from keras_inat.data.source import Source, open_source
from keras_inat.data.split import split_validation
from keras_inat.errors import UserError
from keras_inat.runs import RunFolder, hold_lock, look_at_test
from keras_inat.sections import Config

NUM_NAMED = 10
# What reading a damaged file of a pack may raise.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
# Part of the training images above which copies of test images deserve a question.
MANY_LEAKED = 0.05
_warned: set[Path] = set()


@dataclass(frozen=True)
class Pack:
    """The pixels of a data set and what is known of its files, in a folder.

    The folder holds `<size>.uint8`, the pixels of every file at that size; `thumbnails.uint8`; `index.npz`, an entry a
    file; `paths.json`; `scan.json`, what was found; and `manifest.json`, a summary, last to be written.

    Attributes:
        directory: The folder.
        image_size: Side in pixels of what the model sees.
        manifest: Name, hash, classes and counts.
    """

    directory: Path
    image_size: int
    manifest: dict[str, Any]

    def __post_init__(self) -> None:
        # What is opened outlives its removal by `make clean-packs`: a run that began with it can end with it.
        _ = self._index, self._paths, self._images

    @property
    def classes(self) -> list[str]:
        return list(self.manifest["classes"])

    @property
    def hash(self) -> str:
        return str(self.manifest["hash"])

    @functools.cached_property
    def train_labels(self) -> np.ndarray:
        """`(files,)` int64, an index into `classes`, also of files that were left out."""
        return self._index["labels"][self._num_test :].astype(np.int64)

    @property
    def train_paths(self) -> list[str]:
        """Of `train_images`, in the source."""
        return self._paths[self._num_test :]

    @functools.cached_property
    def train_images(self) -> np.ndarray:
        """`(files, size, size, 3)` uint8, mapped from the disk, at the size that the model sees."""
        return self._images[self._num_test :]

    def training_images(self, config: Config) -> np.ndarray:
        """`train_images`, or, where augmentation moves them, larger ones with room for that."""
        size = _training_size(config)
        return self.train_images if size == self.image_size else self._map(size)[self._num_test :]

    def split(self, config: Config) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the training and the validation images, as `data.val_fraction` and `data.split_seed` say.

        Returns:
            Sorted int64 row numbers into `train_images`; what was left out is in neither.

        Raises:
            UserError: When a class cannot give an image to either.
        """
        used = np.flatnonzero(self._index["used"][self._num_test :])
        # Copies go by the name of one of them, and so to one side.
        first = self._index["first_copy"][self._num_test :][used]
        names = [content.tobytes().hex() for content in self._index["hashes"][first]]
        parts = split_validation(self.train_labels[used], names, config.data.val_fraction, config.data.split_seed)
        for label in np.flatnonzero(np.bincount(self.train_labels[used[parts[1]]], minlength=len(self.classes)) == 0):
            raise UserError(
                f"no image of {self.classes[label]!r} can be held out for validation: its images are copies of one "
                "another, or of another class's"
            )
        return used[parts[0]], used[parts[1]]

    def read_test(self, config: Config, run: RunFolder) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        """The test images, through the ledger, for a final evaluation only.

        Returns:
            Pixels `(files, size, size, 3)` uint8, labels `(files,)` int64, the rows that hold an image, int64, and the
            path of each row.
        """

        def read() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
            labels = self._index["labels"][: self._num_test].astype(np.int64)
            rows = np.flatnonzero(self._index["used"][: self._num_test])
            return self._images[: self._num_test], labels, rows, self._paths[: self._num_test]

        return look_at_test(config, run, self.hash, read)

    def read_scan(self) -> dict[str, Any]:
        """All that was found: the manifest, with every file that was left out, and more pairs of copies."""
        return json.loads((self.directory / "scan.json").read_text(encoding="utf-8"))

    def show_copies(self, test_images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Some of the near copies that were found: first those that are in train and test, then the others.

        Args:
            test_images: What `read_test` gave.
            count: At most so many pairs; those across train and test take up at most half of them.

        Returns:
            `(pairs,)` int64, their numbers in the manifest's `copies`, and `(pairs, 2, size, size, 3)` uint8.
        """
        near = [number for number, pair in enumerate(self.manifest["copies"]) if pair["similarity"] < 1]
        across = [number for number in near if self._crosses(self.manifest["copies"][number]["rows"])]
        chosen = (across[: count // 2] + [number for number in near if number not in across])[:count]
        images = [
            [test_images[row] if row < self._num_test else self.train_images[row - self._num_test] for row in rows]
            for rows in (self.manifest["copies"][number]["rows"] for number in chosen)
        ]
        shape = (len(chosen), 2, self.image_size, self.image_size, 3)
        return np.array(chosen, np.int64), np.array(images, np.uint8).reshape(shape)

    def _crosses(self, rows: list[int]) -> bool:
        return rows[0] < self._num_test <= rows[1]

    def describe(self, config: Config) -> dict[str, Any]:
        """What a result says about its data: name, hash, counts, what was left out."""
        training, validation = self.split(config)
        counts = {"train": len(training), "validation": len(validation), "test": self.manifest["counts"]["test"]}
        return self.manifest | {"image_size": self.image_size, "counts": counts}

    @functools.cached_property
    def _index(self) -> dict[str, np.ndarray]:
        with np.load(self.directory / "index.npz") as arrays:
            return dict(arrays)

    @functools.cached_property
    def _paths(self) -> list[str]:
        return json.loads((self.directory / "paths.json").read_text(encoding="utf-8"))

    @property
    def _num_test(self) -> int:
        return int(self.manifest["files"]["test"])  # they come first

    @functools.cached_property
    def _images(self) -> np.ndarray:
        return self._map(self.image_size)

    def _map(self, size: int) -> np.ndarray:
        shape = (sum(self.manifest["files"].values()), size, size, 3)
        return np.memmap(pixel_path(self.directory, self.image_size, size), np.uint8, "r", shape=shape)


def load_pack(config: Config) -> Pack:
    """Opens the pack of `data.source` at `data.image_size`, decoding the images first where that was not yet done.

    Files that are no image are left out with a warning that names them, and so are training images that are copies of
    test images.

    Raises:
        UserError: When the source is missing or has a class without a readable image, or the disk has no room.
    """
    source = open_source(config)
    packs = _packs_folder(config)
    packs.mkdir(parents=True, exist_ok=True)
    home = packs / _name(source, config.data.near_copies)
    image_size = config.data.image_size
    with hold_lock(packs / f"{home.name}.lock"):
        num_files = len(source.files)
        found = _is_whole(home, num_files)
        wanted = sorted({image_size, _training_size(config)})
        # A file of another length was damaged by something else than us.
        missing = [
            size
            for size in wanted
            if not found or _length(pixel_path(home, image_size, size)) != num_files * size * size * 3
        ]
        if missing:
            # Under the lock it can only be what a killed process left.
            partial = packs / f".{home.name}"
            sizes = [image_size, *(size for size in missing if size != image_size)]
            _check_space(
                packs, num_files * sum(size * size * 3 for size in (*sizes, THUMBNAIL)) - _count_bytes(partial)
            )
            scan = scan_files(source, sizes, partial)
            try:
                if found:
                    _check_unchanged(source, scan, home)
                else:
                    write_index(source, scan, partial, config.data.near_copies)
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
    pack = Pack(home, image_size, json.loads((home / "manifest.json").read_text(encoding="utf-8")))
    _warn_of_left_out(pack)
    return pack


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


def _name(source: Source, near_copies: bool) -> str:
    return f"{source.name}-{VERSION}-{'' if near_copies else 'identical-'}{source.key[:12]}"


def _remove(partial: Path) -> None:
    (partial / JOURNAL).unlink(missing_ok=True)  # before what it speaks of
    shutil.rmtree(partial)


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def _check_unchanged(source: Source, scan: Scan, home: Path) -> None:
    """Pixels that are added must be of the files that the index speaks of."""
    with np.load(home / "index.npz") as index:
        if not np.array_equal(index["hashes"], scan.hashes):
            raise UserError(f"images of {source.path} changed or could not be read this time: run it again")


def _is_whole(home: Path, num_files: int) -> bool:
    """Whether the index is there and can be read; what something else has damaged is made anew."""
    try:
        manifest = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
        with np.load(home / "index.npz") as index:
            lengths = {len(index[name]) for name in ("labels", "used", "hashes", "first_copy")}
        lengths.add(len(json.loads((home / "paths.json").read_text(encoding="utf-8"))))
        json.loads((home / "scan.json").read_text(encoding="utf-8"))
        return lengths == {num_files} == {sum(manifest["files"].values())}
    except DAMAGED:
        return False


def _is_current(home: Path) -> bool:
    try:
        manifest = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
        return home.name == _name(Source(Path(manifest["source"])), manifest["near_copies"])
    except (*DAMAGED, UserError):
        return False


def _training_size(config: Config) -> int:
    return stored_size(config.data.image_size) if moves(config.augment) else config.data.image_size


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the decoded pixels need {needed / 2**20:,.0f} MiB in {folder}, {free / 2**20:,.0f} MiB are free: make "
            "room (`make clean-packs` removes old ones), or set `data.directory`, or a smaller `data.image_size`"
        )


def _warn_of_left_out(pack: Pack) -> None:
    """Names the files that were left out, once a process and pack, the first of them where there are many."""
    left_out = pack.manifest["quarantined"] + pack.manifest["leaked"]
    if pack.directory in _warned or not left_out:
        return
    _warned.add(pack.directory)
    for entry in left_out[:NUM_NAMED]:
        print(f"warning: {entry['path']} is left out: {entry['reason']}", file=sys.stderr)
    total = pack.manifest["num_quarantined"] + pack.manifest["num_leaked"]
    if total > NUM_NAMED:
        print(f"warning: {total - NUM_NAMED} more, see {pack.directory / 'scan.json'}", file=sys.stderr)
    num_train = pack.manifest["counts"]["train"]
    if pack.manifest["near_copies"] and pack.manifest["num_leaked"] > MANY_LEAKED * num_train:
        print(
            f"warning: {pack.manifest['num_leaked']:,} training images look like test images. Where these are no "
            "photographs but drawings or letters, `data.near_copies=false` lets only identical files count as copies",
            file=sys.stderr,
        )
