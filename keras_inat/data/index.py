"""The index of a pack: the usable files of a source, their labels, and the groups of duplicates among them."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_inat.data.duplicates import group_duplicates, read_ignored
from keras_inat.data.scan import DecodedFile, stack_hashes
from keras_inat.data.source import SPLITS, ImageFile, Source
from keras_inat.errors import UserError
from keras_inat.files import make_printable, write_atomically, write_text
from keras_inat.settings.schema import Data
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


def write_index(
    source: Source,
    files: Sequence[ImageFile],
    decoded: Sequence[DecodedFile],
    pairs: np.ndarray,
    directory: Path,
    preparation: Preparation,
    data: Data,
) -> None:
    """Writes `index.npz`, `paths.json`, `scan.json` and, last, `manifest.json` beside the thumbnails.

    `index.npz` has one entry per file, in the order of `files`, where the test files come first: `labels` int32, `used`
    and `validation` bool, `hashes` `(files, 32)` uint8, and `representative` int64, the index of the file that stands
    for a group of duplicates. `pairs` are the duplicates, as from `find_pairs`.

    Raises:
        UserError: A class has too few usable images.
    """
    paths = [file.path for file in files]
    names = [make_printable(path) for path in paths]
    labels = np.searchsorted(source.classes, [file.class_name for file in files]).astype(np.int32)
    splits = np.array([SPLITS.index(file.split or "train") for file in files])
    is_test = splits == 0
    hashes = stack_hashes(decoded)
    readable = np.array([not file.reason for file in decoded])

    groups = group_duplicates(len(paths), pairs)
    is_leaked = _find_leaked(readable, splits, groups)
    used = readable & ~is_leaked
    quarantined = [
        SkippedFile(path=name, reason=file.reason) for name, file in zip(names, decoded, strict=True) if file.reason
    ]
    leaked = _explain_leaks(is_leaked, pairs, groups, splits, names)
    counts = {
        split: np.bincount(labels[used & (splits == number)], minlength=len(source.classes)).tolist()
        for number, split in enumerate(SPLITS)
        if split != "validation" or source.origins.validation
    }
    _check_classes(source, counts, dict(zip(names, files, strict=True)), [*quarantined, *leaked])

    representative = choose_representatives(groups, hashes)
    arrays = {"labels": labels, "used": used, "validation": splits == 1, "hashes": hashes}
    with write_atomically(directory / "index.npz") as path, open(path, "wb") as file:
        np.savez(file, representative=representative, **arrays)
    write_text(directory / "paths.json", json.dumps(paths))
    manifest = Manifest(
        name=source.name,
        source=str(source.path.resolve()),
        table=source.table,
        origins=source.origins,
        variant=name_variant(source, data),
        test_fraction=data.test_fraction if source.is_unsplit else None,
        near_duplicates=data.near_duplicates,
        bit_depth=preparation.bit_depth,
        float_range=preparation.float_range,
        hash=_hash_contents(source, splits, hashes, labels, used, _hash_ignored(data)),
        classes=source.classes,
        files=SplitCounts(**dict(zip(SPLITS, np.bincount(splits, minlength=len(SPLITS)).tolist(), strict=True))),
        counts=SplitCounts(**{split: sum(numbers) for split, numbers in counts.items()}),
        per_class=ClassCounts.model_validate(counts),
        formats=dict(Counter(file.format for file in decoded if not file.reason).most_common()),
        traits=dict(Counter(trait for file in decoded for trait in file.traits).most_common()),
        reasons=dict(Counter(file.reason.split(" (")[0] for file in quarantined).most_common()),
        num_quarantined=len(quarantined),
        num_leaked=len(leaked),
        num_duplicates=_count_duplicates(pairs, labels, is_test),
        quarantined=tuple(quarantined),
        leaked=tuple(leaked),
        duplicates=_describe_pairs(pairs, names, labels, is_test),
    )
    manifest.write(directory / "scan.json")
    lists = {name: getattr(manifest, name)[:NUM_NAMED] for name in ("quarantined", "leaked", "duplicates")}
    manifest.model_copy(update=lists).write(directory / "manifest.json")


def name_variant(source: Source, data: Data) -> str:
    """Returns the part of a pack's name that tells packs of one source apart: the settings that decide its index."""
    parts = [
        "" if data.near_duplicates else "identical-",
        "" if data.bit_depth == "auto" else f"{data.bit_depth}-bit-",
        f"test-{data.test_fraction:g}-" if source.is_unsplit else "",
    ]
    if digest := _hash_ignored(data):
        parts.append(f"ignoring-{digest}-")
    return "".join(parts)


def _hash_ignored(data: Data) -> str:
    """Hashes the pairs of `data.ignore_duplicates`, wherever the file is. Returns an empty string without any."""
    pairs = sorted("\0".join(sorted(pair)) for pair in read_ignored(data.ignore_duplicates))
    return hashlib.sha256("\n".join(pairs).encode("utf-8", "surrogateescape")).hexdigest()[:8] if pairs else ""


def _find_leaked(readable: np.ndarray, splits: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns a mask of the files that duplicate a file of an earlier split: test, validation, train."""
    first_split = np.full(len(splits), len(SPLITS))
    np.minimum.at(first_split, groups[readable], splits[readable])
    return readable & (splits > first_split[groups])


def _explain_leaks(
    is_leaked: np.ndarray, pairs: np.ndarray, groups: np.ndarray, splits: np.ndarray, names: list[str]
) -> list[SkippedFile]:
    """Names an image of an earlier split, a test or validation image, for every leaked image."""
    reasons: dict[int, str] = {}
    across = pairs[splits[pairs["first"]] != splits[pairs["second"]]]
    for pair in across[np.argsort(-across["similarity"], kind="stable")]:
        kind = "an exact duplicate" if pair["similarity"] == 1 else "a near-duplicate"
        mirrored = ", mirrored" if pair["mirrored"] else ""
        first = int(pair["first"])
        split = SPLITS[splits[first]]
        reasons.setdefault(int(pair["second"]), f"is {kind} of the {split} image {names[first]}{mirrored}")
    # The files of earlier splits come first.
    first_of_group = dict(zip(*np.unique(groups, return_index=True), strict=True))
    files = []
    for number in np.flatnonzero(is_leaked).tolist():
        first = int(first_of_group[groups[number]])
        indirect = f"is linked to the {SPLITS[splits[first]]} image {names[first]} through other near-duplicates"
        files.append(SkippedFile(path=names[number], reason=reasons.get(number, indirect)))
    return files


def _check_classes(
    source: Source, counts: dict[str, list[int]], files: dict[str, ImageFile], skipped: list[SkippedFile]
) -> None:
    # One image for training and one for validation, unless the validation images are given; one for the test.
    needed = {"train": 1 if source.origins.validation else 2, "validation": 1, "test": 1}
    places = source.origins.model_dump()
    for split, numbers in counts.items():
        for class_name, count in zip(source.classes, numbers, strict=True):
            if count < needed[split]:
                chosen = {name for name, file in files.items() if (file.class_name, file.split) == (class_name, split)}
                reasons = [file.reason for file in skipped if file.path in chosen]
                hint = f"; {len(reasons)} files were skipped, the first because it {reasons[0]}" if reasons else ""
                place = f"in {places[split]}" if places[split] else f"for {split}"
                raise UserError(
                    f"the class {class_name!r} of {source.path} has too few usable images {place}: {count} found, "
                    f"{needed[split]} needed{hint}"
                )


def choose_representatives(groups: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Returns for each file the index of the file with the smallest hash in its group, whatever the files' order."""
    order = np.lexsort((np.ascontiguousarray(hashes).view("S32").ravel(), groups))
    first_of_group = np.flatnonzero(np.diff(groups[order], prepend=-1))
    return order[first_of_group][groups]


def _count_duplicates(pairs: np.ndarray, labels: np.ndarray, is_test: np.ndarray) -> DuplicateCounts:
    return DuplicateCounts(
        identical=int((pairs["similarity"] == 1).sum()),
        near=int((pairs["similarity"] < 1).sum()),
        mirrored=int(pairs["mirrored"].sum()),
        of_another_class=int((labels[pairs["first"]] != labels[pairs["second"]]).sum()),
        train_and_test=int(_find_across(pairs, is_test).sum()),
    )


def _find_across(pairs: np.ndarray, is_test: np.ndarray) -> np.ndarray:
    return is_test[pairs["first"]] & ~is_test[pairs["second"]]


def _describe_pairs(
    pairs: np.ndarray, names: list[str], labels: np.ndarray, is_test: np.ndarray
) -> tuple[DuplicatePair, ...]:
    """Describes the pairs across train and test, then those with the lowest similarity, worth checking most."""
    order = np.lexsort((pairs["similarity"], ~_find_across(pairs, is_test)))[:MAX_PAIRS]
    return tuple(_describe_pair(pair, names, labels) for pair in pairs[order])


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


def _hash_contents(
    source: Source, splits: np.ndarray, hashes: np.ndarray, labels: np.ndarray, used: np.ndarray, ignored: str
) -> str:
    """Hashes the contents, classes and splits of the usable images. File names have no influence.

    `ignored` is the hash of the pairs that are no duplicates: they decide which images are on one side of the split.
    """
    lines = [
        f"{SPLITS[splits[number]]} {labels[number]} {hashes[number].tobytes().hex()}"
        for number in np.flatnonzero(used).tolist()
    ]
    lines = [*source.classes, *sorted(lines), *filter(None, [ignored])]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
