"""The command `data`: the lines on the splits, for a folder, an archive and images without test images."""

import shutil

from keras_inat.__main__ import main


def test_the_origins_and_counts_of_three_splits_are_printed(photos, capsys):
    (photos / "val").rename(photos / "test")
    (photos / "valid").mkdir()
    for folder in sorted((photos / "train").iterdir()):
        (photos / "valid" / folder.name).mkdir()
        for number in range(3):
            (folder / f"{number}.png").rename(photos / "valid" / folder.name / f"{number}.png")
    assert main(["data", f"DATA={photos}", "data.image_size=32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "images: train from train/, validation from valid/, test from test/" in lines
    assert "photos: 21 train, 9 validation and 12 test images, by class:" in lines
    assert ["red", "7", "3", "4"] in [line.split() for line in lines]


def test_split_off_test_images_are_announced(photos, capsys):
    shutil.rmtree(photos / "val")
    archive = shutil.make_archive("many", "gztar", photos.parent, "photos")
    words = ["data", "ZIP=many.tar.gz", "DATA=mine", "data.image_size=32", "data.test_fraction=0.3"]
    assert archive.endswith("many.tar.gz")
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "unpacked 30 images into mine" in lines
    line = "images: train from train/, validation split off (0.2 of them), test split off first (0.3 of all)"
    assert line in lines
    assert "mine: 21 train and 9 test images, by class:" in lines
    assert main(["data", "DATA=many.tar.gz", "data.image_size=32"]) == 0
    output = capsys.readouterr().out
    assert "many: 24 train and 6 test images, by class:" in output
    assert "test split off first (0.2 of all)" in output


def test_a_layout_that_is_not_known_is_refused_in_one_line(photos, capsys):
    for folder in ("train", "val"):
        for path in (photos / folder).glob("*/*"):
            path.rename(photos / folder / f"{path.parent.name}-{path.name}")
        for path in (photos / folder).glob("*/"):
            path.rmdir()
    assert main(["data", f"DATA={photos}"]) == 2
    assert capsys.readouterr().err == (
        f"error: {photos} has no classes: found the folders train/, val/ and 42 files with the suffix of an image. "
        "Rename the folders to train/<Class>/, val/<Class>/ and test/<Class>/, or to <Class>/ alone, or add a table "
        "(CSV, TSV, JSONL) with the columns file and label\n"
    )
