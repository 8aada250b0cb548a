"""What is known of the files of a source: which are used, which are copies of which, and what is in them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.data.chunk import THUMBNAIL, thumbnail_path
from keras_inat.data.duplicates import find_duplicates, group_duplicates
from keras_inat.data.scan import Scan
from keras_inat.data.source import FOLDERS, Source
from keras_inat.errors import UserError
from keras_inat.files import make_printable, write_json, write_text, write_whole

# Of the pack's files: another version is another pack.
VERSION = 2
# `scan.json` names every file that was left out and so many pairs of copies; a summary names fewer of both.
MAX_PAIRS, NUM_NAMED = 10_000, 50
# So many images each class needs: one to train on and one to validate with; one to test.
NEEDED = {"train": 2, "test": 1}


def write_index(source: Source, scan: Scan, directory: Path, near_duplicates: bool) -> None:
    """Writes `index.npz`, `paths.json`, `scan.json` and, last, `manifest.json` beside the pixels of a scan.

    `index.npz` has an entry a file, in the order of `Source.files`, the test images first: `labels` int32, `used` bool,
    `hashes` `(files, 32)` uint8, and `first_copy` int64, the file that stands for all copies of an image.

    Args:
        source: Whose files they are.
        scan: What was found.
        directory: Holds the thumbnails.
        near_copies: Whether images that merely look the same count as copies.

    Raises:
        UserError: When a class has too few images.
    """
    count, paths = len(source.files), [file.path for file in source.files]
    names = [make_printable(path) for path in paths]
    numbers = {name: label for label, name in enumerate(source.classes)}
    labels = np.fromiter((numbers[file.class_name] for file in source.files), np.int32, count)
    num_test = sum(file.split == "test" for file in source.files)
    blocks = {"train": slice(num_test, count), "test": slice(0, num_test)}

    shape = (count, THUMBNAIL, THUMBNAIL, 3)
    thumbnails = np.memmap(thumbnail_path(directory), np.uint8, "r", shape=shape)
    pairs = find_duplicates(thumbnails, scan.hashes, np.flatnonzero(scan.readable), near_duplicates)
    groups = group_duplicates(count, pairs)
    across = (pairs["first"] < num_test) & (pairs["second"] >= num_test)  # of train and test
    seen = np.zeros(count, bool)  # by group: whether one of it is a test image
    seen[groups[:num_test][scan.readable[:num_test]]] = True
    leaked = scan.readable & seen[groups]
    leaked[:num_test] = False
    used = scan.readable & ~leaked
    per_class = {
        split: np.bincount(labels[block][used[block]], minlength=len(source.classes)).tolist()
        for split, block in blocks.items()
    }
    quarantined = [{"path": names[number], "reason": reason} for number, reason in sorted(scan.reasons.items())]
    named_leaks = [
        {"path": names[number], "reason": reason}
        for number, reason in _explain(leaked, pairs[across], groups, num_test, names)
    ]
    _check_classes(source, per_class, quarantined + named_leaks)

    with write_whole(directory / "index.npz") as path, open(path, "wb") as file:
        first_copy = _choose_first(groups, scan.hashes)
        np.savez(file, labels=labels, used=used, hashes=scan.hashes, first_copy=first_copy)
    write_text(directory / "paths.json", json.dumps(paths))
    # Those worth a look first: across train and test, then near copies, the least alike of them.
    order = np.lexsort((pairs["similarity"], ~across))[:MAX_PAIRS]
    found = [_describe_pair(pair, names, labels) for pair in pairs[order]]
    summary = {
        "version": VERSION,
        "name": source.name,
        "source": str(source.path.resolve()),
        "near_duplicates": near_duplicates,
        "hash": _hash_contents(source, scan.hashes, labels, used, num_test),
        "classes": source.classes,
        "files": {split: block.stop - block.start for split, block in blocks.items()},
        "counts": {split: sum(per_class[split]) for split in FOLDERS},
        "per_class": per_class,
        "formats": dict(scan.formats.most_common()),
        "traits": dict(scan.traits.most_common()),
        "reasons": scan.count_reasons(),
        "num_quarantined": len(quarantined),
        "num_leaked": len(named_leaks),
        "num_duplicates": _count_duplicates(pairs, across, labels),
    }
    everything = {"quarantined": quarantined, "leaked": named_leaks, "duplicates": found}
    write_json(directory / "scan.json", summary | everything)
    some = {name: entries[:NUM_NAMED] for name, entries in everything.items()}
    write_json(directory / "manifest.json", summary | some)


def _explain(
    leaked: np.ndarray, pairs: np.ndarray, groups: np.ndarray, num_test: int, paths: list[str]
) -> list[tuple[int, str]]:
    """Of every leaked file its number, and which test image it shows; `pairs` are those across train and test."""
    reasons: dict[int, str] = {}
    for pair in pairs[np.argsort(-pairs["similarity"], kind="stable")]:
        test, train = int(pair["first"]), int(pair["second"])
        how = "the same image as" if pair["similarity"] == 1 else "a near copy of"
        reasons.setdefault(train, f"is {how} {paths[test]}" + (", mirrored" if pair["mirrored"] else ""))
    members: dict[int, int] = {}
    for number in range(num_test):
        members.setdefault(int(groups[number]), number)
    return [
        (number, reasons.get(number) or f"is a copy of copies of {paths[members[int(groups[number])]]}")
        for number in np.flatnonzero(leaked).tolist()
    ]


def _check_classes(source: Source, per_class: dict[str, list[int]], left_out: list[dict[str, str]]) -> None:
    for split, folder in FOLDERS.items():
        for class_name, found in zip(source.classes, per_class[split], strict=True):
            if found < NEEDED[split]:
                place = f"{folder}/{class_name}"
                reasons = [entry["reason"] for entry in left_out if f"{place}/" in entry["path"]]
                raise UserError(
                    f"the class folder {place} of {source.path} holds {found} usable images, at least "
                    f"{NEEDED[split]} are needed"
                    + (f"; {len(reasons)} were left out, the first as it {reasons[0]}" if reasons else "")
                )


def _choose_first(groups: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Of each file, the one of its group with the smallest hash, wherever it lies."""
    order = np.lexsort((np.ascontiguousarray(hashes).view("S32").ravel(), groups))
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    return order[starts][groups]


def _describe_pair(pair: np.void, paths: list[str], labels: np.ndarray) -> dict[str, Any]:
    return {
        "path": paths[pair["second"]],
        "of": paths[pair["first"]],
        "similarity": round(float(pair["similarity"]), 4),
        "mirrored": bool(pair["mirrored"]),
        "same_class": bool(labels[pair["first"]] == labels[pair["second"]]),
        "rows": [int(pair["first"]), int(pair["second"])],
    }


def _count_duplicates(pairs: np.ndarray, across: np.ndarray, labels: np.ndarray) -> dict[str, int]:
    """Pairs of files that show one image, by kind."""
    return {
        "identical": int((pairs["similarity"] == 1).sum()),
        "near": int((pairs["similarity"] < 1).sum()),
        "mirrored": int(pairs["mirrored"].sum()),
        "of_another_class": int((labels[pairs["first"]] != labels[pairs["second"]]).sum()),
        "train_and_test": int(across.sum()),
    }


def _hash_contents(source: Source, hashes: np.ndarray, labels: np.ndarray, used: np.ndarray, num_test: int) -> str:
    """Of the images that are used, with their classes and splits, whatever their names."""
    lines = sorted(
        f"{'test' if number < num_test else 'train'} {labels[number]} {hashes[number].tobytes().hex()}"
        for number in np.flatnonzero(used).tolist()
    )
    return hashlib.sha256("\n".join((*source.classes, *lines)).encode()).hexdigest()[:16]
