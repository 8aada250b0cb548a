"""Every layout of the table in docs/reference/layouts.md, as a folder and as an archive."""

import sys
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from keras_inat.data.conversion import SUFFIXES
from keras_inat.data.layouts import SPLIT_NAMES
from keras_inat.data.source import Source
from keras_inat.data.tables import COLUMNS
from keras_inat.errors import UserError
from keras_inat.store.records import TableSettings

ALL = {"train": 4, "validation": 4, "test": 4}
TWO = {"train": 4, "test": 4}
UNSPLIT = {None: 4}
SPLIT_OFF = "train from {}, validation split off (0.2 of them), test split off first (0.2 of all)"


def list_images(*folders, classes=("fox", "owl"), count=2):
    """Lists images in class folders. Each has a path of its own."""
    return [f"{folder}/{name}/{number}.jpg" for folder in folders for name in classes for number in range(count)]


def list_flat(folder, count=4):
    return [f"{folder}/{number}.jpg" for number in range(count)]


def write_table(*rows, columns="file,label"):
    return "\n".join((columns, *rows)) + "\n"


LABELED = [f"{number}.jpg,{'fox' if number % 2 else 'owl'}" for number in range(4)]
FOLDERS = {
    "three splits": (
        list_images("train", "val", "test"),
        ALL,
        "train from train/, validation from val/, test from test/",
    ),
    "other names": (
        list_images("Training", "VALID", "testing"),
        ALL,
        "train from Training/, validation from VALID/, test from testing/",
    ),
    "dev": (list_images("train", "dev", "test"), ALL, "train from train/, validation from dev/, test from test/"),
    "validation": (
        list_images("train", "Validation", "Test"),
        ALL,
        "train from train/, validation from Validation/, test from Test/",
    ),
    "train and test": (
        list_images("train", "test"),
        TWO,
        "train from train/, validation split off (0.2 of them), test from test/",
    ),
    "iNaturalist-12K": (
        list_images("train", "val"),
        TWO,
        "train from train/, validation split off (0.2 of them), test from val/",
    ),
    "train alone": (list_images("train"), UNSPLIT, SPLIT_OFF.format("train/")),
    "bare class folders": (list_images("."), UNSPLIT, SPLIT_OFF.format("the class folders")),
    "a class called train": (
        list_images(".", classes=("car", "train")),
        UNSPLIT,
        SPLIT_OFF.format("the class folders"),
    ),
    "doubled folders": (
        list_images("training_set/training_set", "test_set/test_set"),
        TWO,
        "train from training_set/, validation split off (0.2 of them), test from test_set/",
    ),
    "a class called train in each split": (
        list_images("train", "test", classes=("car", "train")),
        TWO,
        "train from train/, validation split off (0.2 of them), test from test/",
    ),
    "nested": (
        list_images("a/b/c/train", "a/b/c/val", "a/b/c/test"),
        ALL,
        "train from train/, validation from val/, test from test/",
    ),
    "bare and nested": (list_images("a/b"), UNSPLIT, SPLIT_OFF.format("the class folders")),
}


def write_folder(root, paths, **texts):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def write_zip(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent).as_posix())
    return path


def open_both(tmp_path, paths, table=None, **texts):
    folder = write_folder(tmp_path / "photos", paths, **texts)
    return Source(folder, table), Source(write_zip(folder, tmp_path / "photos.zip"), table)


def count_splits(source):
    return dict(Counter(file.split for file in source.files))


@pytest.mark.parametrize(("paths", "splits", "line"), FOLDERS.values(), ids=FOLDERS)
def test_folders_give_splits_and_classes(tmp_path, paths, splits, line):
    for source in open_both(tmp_path, paths):
        assert count_splits(source) == splits
        assert source.origins.describe(0.2, 0.2) == line
        assert len(source.classes) == 2
        assert all(f"/{file.class_name}/" in f"/{file.path}" for file in source.files)
        assert source.notes == ()
        assert source.is_unsplit == (splits == UNSPLIT)


DOCUMENTED = ("three splits", "train and test", "iNaturalist-12K", "train alone", "bare class folders")


def test_the_documentation_has_a_row_for_each_layout():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "layouts.md").read_text(encoding="utf-8")
    rows = {line.split(" | ")[-1].removesuffix(" |") for line in page.splitlines() if line.startswith("|")}
    lines = {FOLDERS[name][2] for name in DOCUMENTED}
    lines |= {line for _, _, _, line in TABLES.values() if "labels.tsv" not in line}
    assert lines <= rows
    assert {row for row in rows if row.startswith("train from")} == lines
    for names in (*SPLIT_NAMES.values(), *COLUMNS.values()):
        assert ", ".join(f"`{name}`" for name in names) in page
    for suffix in SUFFIXES:
        assert f"`{suffix}`" in page


@pytest.mark.parametrize("given", ["train", "val", "test"])
def test_a_folder_of_one_split_stands_for_its_parent(tmp_path, given, monkeypatch):
    folder = write_folder(tmp_path / "photos", list_images("train", "val", "test"))
    source = Source(folder / given)
    assert source.path == folder
    assert source.name == "photos"
    assert count_splits(source) == ALL
    assert source.notes == (f"{folder / given} is one split of {folder}, which is used",)
    monkeypatch.chdir(folder / given)
    assert count_splits(Source(folder.joinpath(given).relative_to(folder / given))) == ALL


def test_a_data_set_with_the_name_of_a_split_is_used_itself(tmp_path):
    write_folder(
        tmp_path, [*list_images("train/train", "train/val"), *list_images("test", classes=("car", "train", "val"))]
    )
    source = Source(tmp_path / "train")
    assert source.path == tmp_path / "train"
    assert source.classes == ("fox", "owl")
    assert source.notes == ()


def test_a_folder_of_one_split_without_others_is_used_itself(tmp_path):
    folder = write_folder(tmp_path / "photos", [*list_images("train"), *list_flat("test")])
    source = Source(folder / "train")
    assert source.path == folder / "train"
    assert count_splits(source) == UNSPLIT


@pytest.mark.parametrize(
    ("others", "splits", "test"), [(("val",), TWO, "val/"), ((), UNSPLIT, None)], ids=["beside val", "alone"]
)
def test_unlabeled_test_images_are_not_evaluated(tmp_path, others, splits, test):
    for source in open_both(tmp_path, [*list_images("train", *others), *list_flat("test")]):
        assert count_splits(source) == splits
        assert source.origins.test == test
        assert source.notes == ("test/ has no class folders: its images are for `predict`, not for an evaluation",)


def test_unlabeled_test_images_beside_bare_class_folders_are_no_class(tmp_path):
    for source in open_both(tmp_path, [*list_images("."), *list_flat("test")]):
        assert source.classes == ("fox", "owl")
        assert count_splits(source) == UNSPLIT
        assert len(source.notes) == 1


TABLES = {
    "a table beside the images": (
        list_flat("."),
        {"labels.csv": write_table(*LABELED)},
        UNSPLIT,
        SPLIT_OFF.format("labels.csv"),
    ),
    "a table and a folder of images": (
        list_flat("images"),
        {"labels.csv": write_table(*LABELED, columns="Image,Class")},
        UNSPLIT,
        SPLIT_OFF.format("labels.csv"),
    ),
    "names without a suffix": (
        list_flat("train"),
        {"train.csv": write_table(*(row.replace(".jpg", "") for row in LABELED), columns="image_id,category")},
        UNSPLIT,
        SPLIT_OFF.format("train.csv"),
    ),
    "tabs": (
        list_flat("."),
        {"labels.tsv": write_table(*LABELED, columns="filename,target").replace(",", "\t")},
        UNSPLIT,
        SPLIT_OFF.format("labels.tsv"),
    ),
    "semicolons": (
        list_flat("."),
        {"labels.csv": "\ufeff" + write_table(*LABELED, columns="path,species").replace(",", ";")},
        UNSPLIT,
        SPLIT_OFF.format("labels.csv"),
    ),
    "a column of splits": (
        list_flat("images", 12),
        {
            "labels.csv": write_table(
                *(
                    f"images/{n}.jpg,{'fox' if n % 2 else 'owl'},{('train', 'Valid', 'TEST')[n // 4]}"
                    for n in range(12)
                ),
                columns="filepaths,labels,data set",
            )
        },
        ALL,
        "train from labels.csv (train), validation from labels.csv (Valid), test from labels.csv (TEST)",
    ),
    "training and validation rows": (
        list_flat("images", 8),
        {
            "labels.csv": write_table(
                *(f"{n}.jpg,{'fox' if n % 2 else 'owl'},{('train', 'val')[n // 4]}" for n in range(8)),
                columns="file,label,split",
            )
        },
        TWO,
        "train from labels.csv (train), validation split off (0.2 of them), test from labels.csv (val)",
    ),
    "imagefolder with metadata.jsonl": (
        list_flat("."),
        {"metadata.jsonl": "".join(f'{{"file_name": "{n}.jpg", "label": {n % 2}}}\n' for n in range(4))},
        UNSPLIT,
        SPLIT_OFF.format("metadata.jsonl"),
    ),
    "imagefolder with metadata.csv in each split": (
        [*list_flat("train"), *list_flat("validation"), *list_flat("test")],
        {
            f"{split}/metadata.csv": write_table(*LABELED, columns="file_name,label")
            for split in ("train", "validation", "test")
        },
        ALL,
        "train from train/metadata.csv, validation from validation/metadata.csv, test from test/metadata.csv",
    ),
    "the same names in each split": (
        [*list_flat("train"), *list_flat("test")],
        {"train.csv": write_table(*LABELED), "test.csv": write_table(*LABELED)},
        TWO,
        "train from train.csv, validation split off (0.2 of them), test from test.csv",
    ),
    "one table for each split": (
        list_flat("images", 8),
        {
            "train.csv": write_table(*LABELED),
            "test.csv": write_table(*(f"{n}.jpg,{'fox' if n % 2 else 'owl'}" for n in range(4, 8))),
        },
        TWO,
        "train from train.csv, validation split off (0.2 of them), test from test.csv",
    ),
}


@pytest.mark.parametrize(("paths", "tables", "splits", "line"), TABLES.values(), ids=TABLES)
def test_tables_give_splits_and_classes(tmp_path, paths, tables, splits, line):
    for source in open_both(tmp_path, paths, **tables):
        prefix = "photos/" if source.path.suffix else ""
        assert count_splits(source) == splits
        assert source.origins.describe(0.2, 0.2) == line.replace("from ", f"from {prefix}")
        assert source.classes == (("0", "1") if "metadata.jsonl" in tables else ("fox", "owl"))
        numbers = {
            source.classes.index(file.class_name) == int(file.path.split("/")[-1][:-4]) % 2 for file in source.files
        }
        assert len(numbers) == 1
        assert source.notes == ()
        assert all(source.read(file).decode() in paths for file in source.files)


def test_images_outside_of_the_layout_are_counted(tmp_path):
    for source in open_both(
        tmp_path, [*list_images("train", "val"), "fox/a.jpg", "b.jpg", "train/owl/c/d.jpg", "e.txt"]
    ):
        assert source.notes == ("images that lie in no class folder and are not used: 2",)
        assert next(file.path for file in source.files if file.is_nested).endswith("train/owl/c/d.jpg")


def test_names_in_a_table_may_differ_in_form_and_case(tmp_path):
    paths = [unicodedata.normalize("NFD", path) for path in ("été/é.jpg", "été/b.jpg")]
    for source in open_both(tmp_path, paths, **{"labels.csv": write_table("été/é.jpg,fox", "B.JPG,owl")}):
        assert [(file.class_name, source.read(file).decode()) for file in source.files] == [
            ("fox", paths[0]),
            ("owl", paths[1]),
        ]


def test_rows_without_a_class_are_counted(tmp_path):
    folder = write_folder(tmp_path / "photos", list_flat(".", 5), **{"labels.csv": write_table(*LABELED, "4.jpg,")})
    source = Source(folder)
    assert source.notes == ("rows without a class in labels.csv: 1", "images that are not in labels.csv: 1")
    assert len(source.files) == 4


def test_forms_for_predictions_and_tables_without_classes_are_no_tables(tmp_path):
    texts = {
        "train.csv": write_table(*LABELED),
        "sample_submission.csv": write_table("9.jpg,fox"),
        "test.csv": write_table("9.jpg", columns="file"),
    }
    for source in open_both(tmp_path, [*list_flat("train"), "test/9.jpg"], **texts):
        assert count_splits(source) == UNSPLIT
        assert [note.replace("photos/", "") for note in source.notes] == ["images that are not in train.csv: 1"]


def test_columns_can_be_named(tmp_path):
    text = write_table(*(f"{n}.jpg,x,{'fox' if n % 2 else 'owl'},{n // 4}" for n in range(4)), columns="a,label,b,c")
    folder = write_folder(tmp_path / "photos", list_flat("."), **{"notes/all.csv": text})
    source = Source(folder, TableSettings(path="notes/all.csv", file="a", label="b"))
    assert source.classes == ("fox", "owl")
    for settings, words in {
        TableSettings(path="all.csv"): r"`data.table` must be one of \{notes/all.csv\}.*Did you mean 'notes/all.csv'",
        TableSettings(path="notes/all.csv", file="A"): r"`data.file_column` must be one of \{a, b, c, label\}",
        TableSettings(path="notes/all.csv"): "needs a column of files and a column of classes.*columns: a, label, b, c",
        TableSettings(
            path="notes/all.csv", file="a", label="b", split="c"
        ): "column 'c' of notes/all.csv.*Received: '0'",
    }.items():
        with pytest.raises(UserError, match=words):
            Source(folder, settings)


REFUSED_TABLES = {
    "two classes": (
        [*LABELED, "1.jpg,owl"],
        r"names '1.jpg' twice: give .* Received: 'fox' \(None\) and 'owl' \(None\)",
    ),
    "only missing files": (
        ["x.jpg,fox", "y.jpg,owl"],
        "none of the 2 files that labels.csv names is in .*'x.jpg' first",
    ),
    "one class": (["1.jpg,fox"], "only one class, 'fox'"),
    "ambiguous": ([*LABELED, "same.jpg,fox"], "'same.jpg', which may be a/same.jpg, b/same.jpg: give its path"),
}


@pytest.mark.parametrize(("rows", "words"), REFUSED_TABLES.values(), ids=REFUSED_TABLES)
def test_contradictory_tables_are_refused(tmp_path, rows, words):
    text = write_table(*rows)
    folder = write_folder(tmp_path / "photos", [*list_flat("."), "a/same.jpg", "b/same.jpg"], **{"labels.csv": text})
    with pytest.raises(UserError, match=words):
        Source(folder)


def test_several_tables_are_refused(tmp_path):
    texts = {"labels.csv": write_table(*LABELED), "other.csv": write_table(*LABELED)}
    folder = write_folder(tmp_path / "photos", list_flat("."), **texts)
    with pytest.raises(UserError, match=r"several tables: name one of them with `data.table`: labels.csv, other.csv"):
        Source(folder)
    assert Source(folder, TableSettings(path="other.csv")).tables == ("other.csv",)


def test_splits_of_some_rows_are_refused(tmp_path):
    text = write_table("0.jpg,owl,train", "1.jpg,fox,", columns="file,label,split")
    folder = write_folder(tmp_path / "photos", list_flat("."), **{"labels.csv": text})
    with pytest.raises(UserError, match="gives only some images a split"):
        Source(folder)


def test_a_file_that_only_a_table_names_is_reported_when_it_is_read(tmp_path):
    for source in open_both(
        tmp_path, list_flat("."), **{"labels.csv": write_table(*LABELED, "../../etc/gone.jpg,owl")}
    ):
        (missing,) = (file for file in source.files if "gone" in file.path)
        assert missing.path == ("photos/gone.jpg" if source.path.suffix else "gone.jpg")
        with pytest.raises(ValueError, match=r"is gone|no item named"):
            source.read(missing)


def test_a_parquet_table_needs_pyarrow(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "photos", list_flat("."), **{"labels.parquet": "x"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"has no classes: .*reading labels.parquet needs PyArrow: pip install pyarrow"):
        Source(folder)
    with pytest.raises(UserError, match=r"reading labels.parquet needs PyArrow: pip install pyarrow, or save it as"):
        Source(folder, TableSettings(path="labels.parquet"))


def test_a_parquet_table_gives_classes(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = write_folder(tmp_path / "photos", list_flat("."))
    columns = {"file": [f"{n}.jpg" for n in range(4)], "label": ["owl", "fox"] * 2}
    parquet.write_table(pyarrow.table(columns), folder / "labels.parquet")
    source = Source(folder)
    assert source.classes == ("fox", "owl")
    assert count_splits(source) == UNSPLIT


def test_class_names_that_look_the_same_are_one_class(tmp_path):
    composed = "café"
    decomposed = unicodedata.normalize("NFD", composed)
    paths = [*list_images("train", classes=(composed, "fox ")), *list_images("test", classes=(decomposed, " fox"))]
    for source in open_both(tmp_path, paths):
        assert source.classes == (composed, "fox")
        assert count_splits(source) == TWO


REFUSED = {
    "case": (
        [*list_images("train"), *list_images("val", classes=("Fox", "owl"))],
        "only in train/: 'fox'; only in val/: 'Fox'. .* names that differ in case are different classes",
    ),
    "a class is missing in one of three": (
        [*list_images("train", "test"), *list_images("val", classes=("fox", "elk"))],
        "train/ and val/ and test/ of .*photos have different classes: only in train/: 'owl'; only in val/: 'elk'",
    ),
    "many classes": (
        [*list_images("train", classes=range(100, 130), count=1), *list_images("test", classes=(1, 2))],
        "only in train/: '100', '101', .* and 22 more",
    ),
    "no training images": (
        list_images("val", "test"),
        "has (val/, test/|test/, val/), but no training images: name a folder train/",
    ),
    "no folders": (list_flat("."), "found no folders and 4 files with the suffix of an image. Rename the folders to"),
    "flat splits": ([*list_flat("train"), *list_flat("test")], "has no classes: found the folders test/, train/"),
    "two names of a split": (
        list_images("train", "val", "valid"),
        "photos has two folders of validation images, val/ and valid/: join them, or rename one",
    ),
    "a table with other columns": (
        [*list_flat("train"), *list_flat("test")],
        "Name the columns .* with `data.file_column` and `data.label_column`: labels.csv has the columns id, breed",
    ),
    "two bare data sets": (list_images("a", "b"), "contains several data sets. Use one of them: a, b"),
    "archives": (
        ["b/photos.zip", "a.tar.gz", *list_flat("c")],
        "photos has no classes: give one of the archives in it: a.tar.gz, b/photos.zip",
    ),
    "one class": (
        list_images("train", "val", classes=("fox",)),
        "photos has only one class, 'fox': at least 2 are needed",
    ),
}


@pytest.mark.parametrize(("paths", "words"), REFUSED.values(), ids=REFUSED)
def test_other_layouts_are_refused_with_what_was_found(tmp_path, paths, words):
    text = write_table("1,fox", columns="id,breed") if "labels.csv" in words else ""
    folder = write_folder(tmp_path / "photos", paths, **({"labels.csv": text} if text else {}))
    with pytest.raises(UserError, match=words) as error:
        Source(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_links_to_folders_are_followed_and_do_not_loop(tmp_path):
    folder = write_folder(tmp_path / "photos", list_images("train", "val"))
    (folder / "train" / "elk").symlink_to(folder / "train" / "fox")
    (folder / "val" / "elk").symlink_to(folder / "val" / "fox")
    (folder / "val" / "owl" / "loop").symlink_to(folder)
    source = Source(folder)
    assert source.classes == ("elk", "fox", "owl")
    assert count_splits(source) == {"train": 6, "test": 6}
