"""The index of a pack: the usable files of a source, their labels, and the groups of duplicates among them."""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from keras_inat.data.decode import decode_image
from keras_inat.data.duplicates import FINE_SIDE, find_duplicates, group_duplicates
from keras_inat.data.scan import THUMBNAIL, THUMBNAILS, DecodedFile, stack_hashes
from keras_inat.data.source import FOLDERS, Source
from keras_inat.errors import ExternalError, UserError
from keras_inat.files import make_printable, write_atomically, write_text
from keras_inat.store.records import (
    ClassCounts,
    DuplicateCounts,
    DuplicatePair,
    Manifest,
    Preparation,
    SkippedFile,
    SplitCounts,
)

# Version of the pack's files. The name of a pack contains it, so that other versions are never read.
VERSION = 4
# `scan.json` lists every skipped file and at most MAX_PAIRS duplicates; `manifest.json` lists NUM_NAMED of each.
MAX_PAIRS = 10_000
NUM_NAMED = 50
# Images that each class needs: one for training and one for validation; one for the test.
NEEDED = {"train": 2, "test": 1}


def write_index(
    source: Source,
    decoded: Sequence[DecodedFile],
    directory: Path,
    near_duplicates: bool,
    preparation: Preparation,
    ignored: Collection[frozenset[str]] = (),
) -> None:
    """Writes `index.npz`, `paths.json`, `scan.json` and, last, `manifest.json` beside the thumbnails.

    `index.npz` has one entry per file, in the order of `Source.files`, where the test files come first: `labels` int32,
    `used` bool, `hashes` `(files, 32)` uint8, and `representative` int64, the index of the file that stands for a group
    of duplicates. With `near_duplicates`, images that look the same count as duplicates, not only identical files.
    `ignored` are pairs of paths that are no duplicates, although they look the same.

    Raises:
        UserError: A class has too few usable images.
    """
    paths = [file.path for file in source.files]
    names = [make_printable(path) for path in paths]
    labels = np.searchsorted(source.classes, [file.class_name for file in source.files]).astype(np.int32)
    is_test = np.array([file.split == "test" for file in source.files])
    num_test = int(is_test.sum())
    hashes = stack_hashes(decoded)
    readable = np.array([not file.reason for file in decoded])

    thumbnails = np.memmap(directory / THUMBNAILS, np.uint8, "r", shape=(len(paths), THUMBNAIL, THUMBNAIL, 3))
    read = functools.partial(_read_image, source, preparation.model_copy(update={"fit": "crop"}))
    pairs = find_duplicates(thumbnails, hashes, np.flatnonzero(readable), near_duplicates, read)
    pairs = pairs[~_find_ignored(pairs, paths, ignored)]
    across = is_test[pairs["first"]] & ~is_test[pairs["second"]]
    groups = group_duplicates(len(paths), pairs)
    is_leaked = readable & ~is_test & np.isin(groups, groups[readable & is_test])
    used = readable & ~is_leaked
    quarantined = [
        SkippedFile(path=name, reason=file.reason) for name, file in zip(names, decoded, strict=True) if file.reason
    ]
    leaked = _explain_leaks(is_leaked, pairs[across], groups, num_test, names)
    counts = {
        "train": np.bincount(labels[used & ~is_test], minlength=len(source.classes)).tolist(),
        "test": np.bincount(labels[used & is_test], minlength=len(source.classes)).tolist(),
    }
    _check_classes(source, counts, [*quarantined, *leaked])

    representative = _choose_representatives(groups, hashes)
    with write_atomically(directory / "index.npz") as path, open(path, "wb") as file:
        np.savez(file, labels=labels, used=used, hashes=hashes, representative=representative)
    write_text(directory / "paths.json", json.dumps(paths))
    # Pairs across train and test come first, then those with the lowest similarity: they are worth checking most.
    order = np.lexsort((pairs["similarity"], ~across))[:MAX_PAIRS]
    manifest = Manifest(
        name=source.name,
        source=str(source.path.resolve()),
        near_duplicates=near_duplicates,
        bit_depth=preparation.bit_depth,
        float_range=preparation.float_range,
        hash=_hash_contents(source, hashes, labels, used),
        classes=source.classes,
        files=SplitCounts(train=len(paths) - num_test, test=num_test),
        counts=SplitCounts(train=sum(counts["train"]), test=sum(counts["test"])),
        per_class=ClassCounts.model_validate(counts),
        formats=dict(Counter(file.format for file in decoded if not file.reason).most_common()),
        traits=dict(Counter(trait for file in decoded for trait in file.traits).most_common()),
        reasons=dict(Counter(file.reason.split(" (")[0] for file in quarantined).most_common()),
        num_quarantined=len(quarantined),
        num_leaked=len(leaked),
        num_duplicates=DuplicateCounts(
            identical=int((pairs["similarity"] == 1).sum()),
            near=int((pairs["similarity"] < 1).sum()),
            mirrored=int(pairs["mirrored"].sum()),
            of_another_class=int((labels[pairs["first"]] != labels[pairs["second"]]).sum()),
            train_and_test=int(across.sum()),
        ),
        quarantined=tuple(quarantined),
        leaked=tuple(leaked),
        duplicates=tuple(_describe_pair(pair, names, labels) for pair in pairs[order]),
    )
    manifest.write(directory / "scan.json")
    lists = {name: getattr(manifest, name)[:NUM_NAMED] for name in ("quarantined", "leaked", "duplicates")}
    manifest.model_copy(update=lists).write(directory / "manifest.json")


def _read_image(source: Source, preparation: Preparation, number: int) -> np.ndarray:
    """Decodes a file again, larger than its thumbnail."""
    file = source.files[number]
    try:
        return decode_image(source.read(file), FINE_SIDE, preparation)
    except ValueError:
        raise ExternalError(f"{make_printable(file.path)} of {source.path} has changed: run it again") from None


def _find_ignored(pairs: np.ndarray, paths: Sequence[str], ignored: Collection[frozenset[str]]) -> np.ndarray:
    """Returns `(pairs,)` bool, true for pairs that the user calls different. Identical files are never different."""
    is_ignored = np.zeros(len(pairs), bool)
    if ignored:
        is_ignored[:] = [
            pair["similarity"] < 1 and frozenset((paths[pair["first"]], paths[pair["second"]])) in ignored
            for pair in pairs
        ]
    return is_ignored


def _explain_leaks(
    is_leaked: np.ndarray, pairs: np.ndarray, groups: np.ndarray, num_test: int, names: list[str]
) -> list[SkippedFile]:
    """Names a test image for every leaked training image; `pairs` are the duplicates across train and test."""
    reasons: dict[int, str] = {}
    for pair in pairs[np.argsort(-pairs["similarity"], kind="stable")]:
        kind = "an exact duplicate" if pair["similarity"] == 1 else "a near-duplicate"
        mirrored = ", mirrored" if pair["mirrored"] else ""
        reasons.setdefault(int(pair["second"]), f"is {kind} of the test image {names[pair['first']]}{mirrored}")
    first_of_group = dict(zip(*np.unique(groups[:num_test], return_index=True), strict=True))
    files = []
    for number in np.flatnonzero(is_leaked).tolist():
        test_image = names[first_of_group[groups[number]]]
        indirect = f"is linked to the test image {test_image} through other near-duplicates"
        files.append(SkippedFile(path=names[number], reason=reasons.get(number, indirect)))
    return files


def _check_classes(source: Source, counts: dict[str, list[int]], skipped: list[SkippedFile]) -> None:
    for split, folder in FOLDERS.items():
        for class_name, count in zip(source.classes, counts[split], strict=True):
            if count < NEEDED[split]:
                place = f"{folder}/{class_name}"
                reasons = [file.reason for file in skipped if f"{place}/" in file.path]
                hint = f"; {len(reasons)} files were skipped, the first because it {reasons[0]}" if reasons else ""
                raise UserError(
                    f"the class folder {place} of {source.path} has too few usable images: {count} found, "
                    f"{NEEDED[split]} needed{hint}"
                )


def _choose_representatives(groups: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Returns for each file the index of the file with the smallest hash in its group, whatever the files' order."""
    order = np.lexsort((np.ascontiguousarray(hashes).view("S32").ravel(), groups))
    first_of_group = np.flatnonzero(np.diff(groups[order], prepend=-1))
    return order[first_of_group][groups]


def _describe_pair(pair: np.void, names: list[str], labels: np.ndarray) -> DuplicatePair:
    first = int(pair["first"])
    second = int(pair["second"])
    return DuplicatePair(
        path=names[second],
        of=names[first],
        similarity=round(float(pair["similarity"]), 4),
        cells=int(pair["cells"]),
        agreeing_cells=int(pair["agreeing"]),
        mirrored=bool(pair["mirrored"]),
        same_class=bool(labels[first] == labels[second]),
        rows=(first, second),
    )


def _hash_contents(source: Source, hashes: np.ndarray, labels: np.ndarray, used: np.ndarray) -> str:
    """Hashes the contents, classes and splits of the usable images. File names have no influence."""
    lines = [
        f"{source.files[number].split} {labels[number]} {hashes[number].tobytes().hex()}"
        for number in np.flatnonzero(used).tolist()
    ]
    return hashlib.sha256("\n".join((*source.classes, *sorted(lines))).encode()).hexdigest()[:16]
