"""Images that take no part in training and validation, because the file of `data.exclude` names them."""

import csv
import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_inat.errors import UserError, explain_errors
from keras_inat.files import make_printable, read_regular, read_text, suggest_path
from keras_inat.spreadsheets import read_cell
from keras_inat.store.records import Manifest

COLUMN = "file"
DELIMITERS = ",;\t"  # spreadsheets write any of them
MAX_COMPARED = 20_000  # paths that are compared with a misspelled one


def exclude_images(manifest: Manifest, directory: Path, file: str) -> tuple[Manifest, np.ndarray]:
    """Excludes the images that a file names from the summary of a pack.

    Args:
        manifest: The summary of all usable images.
        directory: The folder of the pack.
        file: The path of a file for `read_exclusion`.

    Returns:
        The summary without the excluded images, with another hash, and their indices among the files of the pack:
        `(files,)` int64, sorted. Files that are skipped anyway are not among them.

    Raises:
        UserError: The file cannot be read, or it names something else than training and validation files.
    """
    named = read_exclusion(file)
    paths = json.loads(read_text(directory / "paths.json"))
    with np.load(directory / "index.npz") as index:
        labels = index["labels"]
        used = index["used"]
        is_validation = index["validation"]
        hashes = index["hashes"]
    found = _find_rows(named, paths, manifest.files.test, file)
    rows = np.array([row for row in found if used[row]], np.int64)
    if not len(rows):
        return manifest, rows
    per_class = manifest.per_class.model_dump()
    counts = manifest.counts.model_dump()
    for split, chosen in (("train", rows[~is_validation[rows]]), ("validation", rows[is_validation[rows]])):
        if len(chosen):  # the validation images may be split off later
            removed = np.bincount(labels[chosen], minlength=len(manifest.classes))
            per_class[split] = tuple((np.array(per_class[split]) - removed).tolist())
            counts[split] -= len(chosen)
    # As in the hash of all images, names have no influence.
    lines = sorted(f"{labels[row]} {hashes[row].tobytes().hex()}" for row in rows.tolist())
    changes = {
        "hash": hashlib.sha256("\n".join((manifest.hash, *lines)).encode()).hexdigest()[:16],
        "counts": manifest.counts.model_copy(update=counts),
        "per_class": manifest.per_class.model_copy(update=per_class),
        "num_excluded": len(rows),
    }
    return manifest.model_copy(update=changes), rows


def read_exclusion(file: str) -> list[str]:
    """Reads the paths in the column `file` of a CSV file, or of each line of a text file.

    Raises:
        UserError: The file is missing or is not text.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(
            "`data.exclude` must be a CSV file with the column `file`, or a text file with one path a line. "
            f"Received: {file!r}, which does not exist.{suggest_path(path)}"
        )
    try:
        with explain_errors("read", path):
            lines = read_regular(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"`data.exclude` must be a text file in UTF-8. Received: {file!r}, which is not.") from None
    head = lines[0] if lines else ""
    delimiter = next((mark for mark in DELIMITERS if mark in head), DELIMITERS[0])
    if COLUMN in next(csv.reader([head], delimiter=delimiter), []):
        return [read_cell(row[COLUMN]) for row in csv.DictReader(lines, delimiter=delimiter) if row[COLUMN]]
    return [line.strip() for line in lines if line.strip()]


def _find_rows(named: Sequence[str], paths: Sequence[str], num_test: int, file: str) -> list[int]:
    """Returns the sorted indices of the named files among those of a pack, where the test files come first."""
    rows = {make_printable(path): row for row, path in enumerate(paths)}
    found = set()
    for name in named:
        row = rows.get(name)
        if row is None:
            raise UserError(
                f"`data.exclude` must name files of the data set, such as {make_printable(paths[-1])!r}. Received: "
                f"{name!r} in {file!r}.{_suggest(name, list(rows))}"
            )
        if row < num_test:
            raise UserError(
                f"`data.exclude` must name training images, because test images cannot be excluded. Received: {name!r} "
                f"in {file!r}."
            )
        found.add(row)
    return sorted(found)


def _suggest(name: str, paths: Sequence[str]) -> str:
    # In a large data set, only files of the same name are compared: comparing all of them could take minutes.
    same = [path for path in paths if path.rpartition("/")[2] == name.rpartition("/")[2]]
    matches = difflib.get_close_matches(name, (same or paths)[:MAX_COMPARED], n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
