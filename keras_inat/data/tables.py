"""Tables of images: CSV, TSV, JSONL or Parquet files with a column of files, of classes and, optionally, of splits."""

import csv
import io
import itertools
import json
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from keras_inat.data.layouts import (
    ADVICE,
    IMAGE_SUFFIX,
    SPLIT_NAMES,
    LabeledFile,
    Layout,
    clean_class,
    read_split,
    use_splits,
)
from keras_inat.errors import ExternalError, describe_choices, join_names
from keras_inat.store.records import TableSettings

# The usual names of each column, in any case, best first.
COLUMNS = {
    "file": (*("file_name", "filename", "file", "filepath", "filepaths", "file_path"), *("path", "image", "image_id")),
    "label": ("label", "labels", "class", "class_name", "category", "target", "species"),
    "split": ("split", "set", "subset", "data set", "dataset", "partition"),
}
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet")
# More tables than this in a folder describe single images.
MAX_TABLES = 20
MAX_DESCRIBED = 3
MAX_ROWS = 100
UNREADABLE = (ValueError, TypeError, csv.Error)

Row = Mapping[str, Any]
Read = Callable[[str], bytes]


class _Table(NamedTuple):
    path: str
    rows: Sequence[Row]
    columns: Mapping[str, str]  # the names of the columns for "file", "label" and, if there is one, "split"


def find_tables(paths: Sequence[str], read: Read, settings: TableSettings, name: str) -> Layout | None:
    """Finds the tables that give the classes, and the files that they name.

    Args:
        paths: The paths in the source, with "/" between the folders.
        read: Returns the contents of a path.
        settings: The table and its columns, where the user has named them.
        name: The source in messages.

    Returns:
        The layout; None if no table was named and none has a column of files and a column of classes.

    Raises:
        ExternalError: A table cannot be read, or is ambiguous, or contradicts itself.
    """
    if settings.path:
        if settings.path not in paths:
            tables = [path for path in paths if path.lower().endswith(SUFFIXES)]
            if not tables:
                raise ExternalError(f"{name} has no table, but `data.table` is {settings.path!r}: leave it out")
            raise ExternalError(f"`data.table` {describe_choices(settings.path, tables)}")
        chosen = [_read_table(settings.path, read, settings, name)]
    else:
        chosen = _search(paths, read, settings, name)
    return _label(chosen, paths, name) if chosen else None


def describe_tables(paths: Iterable[str], read: Read) -> str:
    """Returns the columns of the first tables that have no usual names of columns, to end a message; or nothing."""
    tables = sorted((path for path in paths if path.lower().endswith(SUFFIXES)), key=lambda path: path.count("/"))
    parts = []
    for path in tables[:MAX_DESCRIBED]:
        try:
            parts.append(f"{path} has the columns {join_names(_list_columns(_parse(path, read(path))))}")
        except ExternalError as error:
            parts.append(str(error))
        except UNREADABLE:
            parts.append(f"{path} cannot be read")
    if not parts:
        return ""
    return f". Name the columns of a table with `data.file_column` and `data.label_column`: {'; '.join(parts)}"


def _search(paths: Iterable[str], read: Read, settings: TableSettings, name: str) -> list[_Table]:
    """Returns the usable tables of the topmost folders that have any: one table, or one for each split."""
    levels: dict[int, list[str]] = defaultdict(list)
    for path in paths:
        # A form for the predictions of a competition has the columns of a table.
        if path.lower().endswith(SUFFIXES) and "submission" not in path.rpartition("/")[2].lower():
            levels[path.count("/") - bool(read_split(path.rpartition("/")[0].rpartition("/")[2]))].append(path)
    for _, candidates in sorted(levels.items()):
        if len(candidates) > MAX_TABLES:
            continue
        tables = [_read_table(path, read, settings, name, is_named=False) for path in sorted(candidates)]
        usable = [table for table in tables if {"file", "label"} <= table.columns.keys()]
        splits = [_split_of(table.path) for table in usable]
        if len(usable) > 1 and (None in splits or len(set(splits)) < len(splits)):
            found = join_names(table.path for table in usable)
            raise ExternalError(f"{name} has several tables: name one of them with `data.table`: {found}")
        if usable:
            return usable
    return []


def _read_table(path: str, read: Read, settings: TableSettings, name: str, is_named: bool = True) -> _Table:
    given = {"file": settings.file, "label": settings.label, "split": settings.split}
    try:
        rows = _parse(path, read(path))
    except ExternalError:
        if is_named:
            raise
        return _Table(path, (), {})
    except UNREADABLE as error:
        if is_named:
            raise ExternalError(f"the table {path} of {name} cannot be read: {' '.join(str(error).split())}") from None
        return _Table(path, (), {})
    names = _list_columns(rows)
    columns = {}
    for role, usual in COLUMNS.items():
        by_name = {column.strip().casefold(): column for column in reversed(names)}
        wanted = given[role]
        if wanted and wanted in names:
            columns[role] = wanted
        elif wanted and is_named:
            raise ExternalError(f"`data.{role}_column` {describe_choices(wanted, names)}")
        elif not wanted and (column := next((by_name[known] for known in usual if known in by_name), None)):
            columns[role] = column
    if is_named and not {"file", "label"} <= columns.keys():
        raise ExternalError(
            f"the table {path} of {name} needs a column of files and a column of classes: name them with "
            f"`data.file_column` and `data.label_column`. Received the columns: {join_names(names)}"
        )
    return _Table(path, rows, columns)


def _list_columns(rows: Sequence[Row]) -> list[str]:
    """Returns the columns of the first rows. The objects of JSON lines may lack some."""
    return [column for column in dict.fromkeys(itertools.chain(*rows[:MAX_ROWS])) if isinstance(column, str)]


def _parse(path: str, content: bytes) -> list[Row]:
    """Returns the rows of a table."""
    suffix = posixpath.splitext(path)[1].lower()
    if suffix == ".parquet":
        try:
            from pyarrow import parquet
        except ImportError:
            raise ExternalError(
                f"reading {path} needs PyArrow: pip install pyarrow, or save it as a CSV file"
            ) from None
        return parquet.read_table(io.BytesIO(content)).to_pylist()
    text = content.decode("utf-8-sig")
    if suffix == ".jsonl":
        return [dict(json.loads(line)) for line in text.splitlines() if line.strip()]
    first = text.partition("\n")[0]
    # Spreadsheets of some countries write semicolons.
    delimiter = ";" if first.count(";") > first.count(DELIMITERS[suffix]) else DELIMITERS[suffix]
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def _split_of(path: str) -> str | None:
    """Returns the split that the name of a table or of its folder says, as `train.csv` or `train/metadata.csv` do."""
    folder, _, name = path.rpartition("/")
    return read_split(posixpath.splitext(name)[0]) or read_split(folder.rpartition("/")[2])


def _label(tables: Sequence[_Table], paths: Sequence[str], name: str) -> Layout:
    finder = _Finder(paths)
    labeled: dict[str, LabeledFile] = {}
    places: dict[str, str] = {}
    num_unlabeled = 0
    for table in tables:
        for row in table.rows:
            file = row.get(table.columns["file"])
            label = _clean(row.get(table.columns["label"]))
            if not isinstance(file, str | int):  # Tables of the Hugging Face Hub may hold the pixels.
                raise ExternalError(
                    f"the column {table.columns['file']!r} of {table.path} in {name} must hold the names of files, not "
                    f"pixels. Received: {type(file).__name__}"
                )
            if not label:
                num_unlabeled += 1
                continue
            split, place = _read_place(table, row, name)
            path = finder.find(str(file), table.path, split, name)
            known = labeled.get(path)
            if known and (known.class_name, known.split) != (label, split):
                received = f"{known.class_name!r} ({known.split}) and {label!r} ({split})"
                raise ExternalError(
                    f"{table.path} of {name} names {file!r} twice: give each image one class and one split. "
                    f"Received: {received}"
                )
            labeled[path] = LabeledFile(split, label, path)
            places[split or ""] = place
    files = list(labeled.values())
    if "" in places and len(places) > 1:
        raise ExternalError(f"{tables[0].path} of {name} gives only some images a split: give it for all or for none")
    if places and not {"train", ""} & places.keys():
        raise ExternalError(f"{tables[0].path} of {name} has no training images: the column of splits needs 'train'")
    if not labeled.keys() & set(paths):
        raise ExternalError(
            f"none of the {len(files):,} files that {tables[0].path} names is in {name}. "
            + (f"Received: {files[0].path!r} first" if files else ADVICE)
        )
    if "" not in places:
        files, places = use_splits(files, places)
    else:
        places = {"train": places[""]}
    names = [table.path for table in tables]
    num_others = sum(bool(IMAGE_SUFFIX.search(path)) and path not in labeled for path in paths)
    counts = {
        f"rows without a class in {join_names(names)}": num_unlabeled,
        f"images that are not in {join_names(names)}": num_others,
    }
    notes = [f"{text}: {count:,}" for text, count in counts.items() if count]
    return Layout(files, "", places, notes, names)


def _clean(label: Any) -> str:
    return "" if label is None else clean_class(str(label))


def _read_place(table: _Table, row: Row, name: str) -> tuple[str | None, str]:
    """Returns the split of a row, and the place of its images in words."""
    value = _clean(row.get(table.columns["split"])) if "split" in table.columns else ""
    if not value:
        return _split_of(table.path), table.path
    split = read_split(value)
    if split is None:
        known = [known for names in SPLIT_NAMES.values() for known in names]
        column = table.columns["split"]
        raise ExternalError(f"the column {column!r} of {table.path} in {name} {describe_choices(value, known)}")
    return split, f"{table.path} ({value})"


class _Finder:
    """Finds the files that a table names: by their path, else by their name, with or without the suffix."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.by_path = {unicodedata.normalize("NFC", path): path for path in paths}
        self.by_name: dict[str, list[str]] = defaultdict(list)  # in any case
        for key, path in self.by_path.items():
            file = key.rpartition("/")[2].casefold()
            self.by_name[file].append(path)
            stem = posixpath.splitext(file)[0]
            if stem != file and not file.endswith(SUFFIXES):
                self.by_name[stem].append(path)

    def find(self, file: str, table: str, split: str | None, name: str) -> str:
        """Returns the path of a file. A missing file gets a path beside the table, whose reading fails."""
        file = unicodedata.normalize("NFC", file.strip().replace("\\", "/"))
        folder = posixpath.dirname(table)
        for start in (folder, ""):
            path = posixpath.normpath(posixpath.join(unicodedata.normalize("NFC", start), file))
            if path in self.by_path:
                return self.by_path[path]
        base = file.rpartition("/")[2]
        found = self.by_name.get(base.casefold(), [])
        if len(found) > 1:  # The same names may be in the folders of several splits.
            found = [path for path in found if split in map(read_split, path.split("/")[:-1])] or found
        if len(found) > 1:
            raise ExternalError(
                f"{table} of {name} names {file!r}, which may be {join_names(sorted(found))}: give its path"
            )
        return found[0] if found else posixpath.join(folder, base)
