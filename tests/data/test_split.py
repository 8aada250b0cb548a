"""Test images that are split off, and validation images that are given: from the source to the opened data set."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mutations import damage
from PIL import Image

from keras_inat.data.dataset import open_data
from keras_inat.data.decode import decode_image
from keras_inat.data.packs import load_pack, remove_stale_packs
from keras_inat.data.split import split_test
from keras_inat.errors import UserError
from keras_inat.store.checksums import sign_lines
from keras_inat.store.runs import RunFolder


@pytest.fixture
def unsplit(photos):
    """Class folders without splits: ten images of each class."""
    shutil.rmtree(photos / "val")
    for folder in (photos / "train").iterdir():
        folder.rename(photos / folder.name)
    (photos / "train").rmdir()
    return photos


def list_test(data):
    """Returns the paths of the test images."""
    paths = json.loads((data.directory / "paths.json").read_text())
    return set(paths[: data.summary.counts.test])


def copy_image(source, target):
    """Writes a near-duplicate."""
    with Image.open(source) as image:
        image.resize((2 * image.width, 2 * image.height)).save(target, quality=85)


def test_test_images_are_split_off_stratified_and_written_down(make_config, unsplit):
    data = open_data(make_config())
    assert data.summary.counts.model_dump() == {"train": 18, "validation": 6, "test": 6}
    assert data.summary.per_class.test == (2, 2, 2)
    assert data.summary.test_fraction == 0.2
    assert data.summary.origins.test is None
    *lines, checksum = Path("data/splits/photos-0.2.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    assert checksum.startswith("# checksum of the lines above: ")
    assert [row["split"] for row in rows].count("test") == 6
    assert len(rows) == 30


def test_pixels_follow_their_labels_when_the_test_images_come_first(make_config, unsplit):
    config = make_config()
    data = open_data(config)
    larger = open_data(make_config("data.image_size=24"))  # decoded again, in the same order
    assert larger.directory == data.directory
    paths = json.loads((data.directory / "paths.json").read_text())
    test = data.open_test(RunFolder(unsplit.parent / "t", "train-best"))
    assert len(test.images) == 6
    for opened, size in ((data, 16), (larger, 24)):
        for row, path in enumerate(paths[6:]):
            np.testing.assert_array_equal(opened.images[row], decode_image((unsplit / path).read_bytes(), size))
            assert opened.classes[opened.labels[row]] == path.split("/")[0]
    for image, path in zip(test.images, test.paths, strict=True):
        np.testing.assert_array_equal(image, decode_image((unsplit / path).read_bytes(), 16))


def test_the_test_images_depend_neither_on_names_nor_on_settings_of_a_run(make_config, unsplit):
    before = open_data(make_config())
    contents = {(unsplit / path).read_bytes() for path in list_test(before)}
    again = open_data(make_config("data.split_seed=7", "run.seed=3", "data.val_fraction=0.4"))
    assert list_test(again) == list_test(before)
    for number, path in enumerate(sorted(unsplit.glob("*/*"), reverse=True)):
        path.rename(path.with_name(f"{number:04}.png"))
    shutil.rmtree("data")  # also without the record
    after = open_data(make_config())
    assert {(unsplit / path).read_bytes() for path in list_test(after)} == contents
    assert after.hash == before.hash


def test_added_images_leave_the_test_images_test(make_config, unsplit, write_photos, workplace):
    before = open_data(make_config())
    test = list_test(before)
    training = {path.relative_to(unsplit).as_posix() for path in unsplit.glob("*/*")} - test
    rng = np.random.default_rng(1)
    for folder in unsplit.iterdir():
        for number in range(20):
            pixels = rng.integers(0, 255, (24, 28, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"new-{number}.png")
    after = open_data(make_config())
    assert list_test(after) >= test
    assert not list_test(after) & training
    assert after.summary.per_class.test == (6, 6, 6)
    assert after.hash != before.hash


def test_duplicates_are_split_off_together(make_config, unsplit):
    for name in ("red", "blue"):
        for index in range(10):
            copy_image(unsplit / name / f"{index}.png", unsplit / name / f"{index}-near.jpg")
    data = open_data(make_config())
    test = list_test(data)
    assert data.summary.num_leaked == 0
    assert data.summary.per_class.test == (4, 2, 4)
    for name in ("red", "blue"):
        for index in range(10):
            assert (f"{name}/{index}.png" in test) == (f"{name}/{index}-near.jpg" in test)


def test_a_new_duplicate_of_a_test_image_is_a_test_image(make_config, unsplit):
    before = list_test(open_data(make_config()))
    path = min(before)
    copy_image(unsplit / path, unsplit / f"{path}-near.jpg")
    assert list_test(open_data(make_config())) >= {*before, f"{path}-near.jpg"}


def test_another_fraction_has_a_pack_and_a_record_of_its_own(make_config, unsplit):
    small = open_data(make_config())
    large = open_data(make_config("data.test_fraction=0.5"))
    assert large.summary.counts.test == 15
    assert list_test(large) > list_test(small)  # images are ranked by their content
    assert large.directory != small.directory
    assert large.hash != small.hash
    assert {stale for _, _, stale in remove_stale_packs(make_config())} == {False}


def test_a_class_of_two_images_has_none_for_the_test(make_config, unsplit):
    for path in (unsplit / "red").iterdir():
        if path.stem not in "01":
            path.unlink()
    with pytest.raises(
        UserError, match=r"the class 'red' of .*photos has too few usable images for test: 0 found, 1 ne"
    ):
        load_pack(make_config())
    assert not list((unsplit.parent / "data" / ".packs").glob("*/"))


def test_sorting_needs_space_for_a_copy(make_config, unsplit, monkeypatch):
    needed = 30 * 3 * (2 * 16 * 16 + 64 * 64)  # pixels of 16 x 16, their copy, and thumbnails
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(UserError, match="more disk space"):
        load_pack(make_config())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    assert load_pack(make_config()).manifest.counts.test == 6


def test_an_interruption_while_the_pixels_are_sorted_starts_over(make_config, unsplit, monkeypatch):
    whole = open_data(make_config("data.directory=elsewhere"))
    with monkeypatch.context() as patch:
        patch.setattr("keras_inat.data.packs.write_index", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load_pack(make_config())
    data = open_data(make_config())
    np.testing.assert_array_equal(data.images, whole.images)
    np.testing.assert_array_equal(data.labels, whole.labels)


def test_sides_of_the_record_are_kept_and_groups_follow_their_test_images(tmp_path):
    record = tmp_path / "splits.csv"
    labels = np.zeros(10, int)
    names = [f"image {number}" for number in range(10)]
    first = split_test(labels, names, names, 0.3, record)
    assert len(first) == 3
    written = record.read_text()
    assert split_test(labels[::-1], names[::-1], names[::-1], 0.3, record).tolist() == sorted(9 - first)
    assert record.read_text() == written
    # A training image before or behind a test image turns out to be a duplicate of it.
    sides = np.isin(np.arange(10), first)
    assert not sides[0] or not sides[-1]
    for training in np.flatnonzero(~sides)[[0, -1]]:
        groups = list(names)
        groups[training] = groups[first[1]]
        record.write_text(written)
        assert split_test(labels, groups, names, 0.3, record).tolist() == sorted([*first, training])


def test_a_damaged_record_of_the_sides_is_refused(tmp_path, list_seeds):
    record = tmp_path / "splits.csv"
    names = [f"image {number}" for number in range(10)]
    first = split_test(np.zeros(10, int), names, names, 0.3, record).tolist()
    content = record.read_bytes()
    for seed in list_seeds(100):
        words = damage(record, seed)
        with pytest.raises(UserError, match=r"splits\.csv is damaged or was changed by hand: restore it"):
            print(words, split_test(np.zeros(10, int), names, names, 0.3, record))
        record.write_bytes(content)
    with pytest.raises(UserError, match=r"splits\.csv is damaged or was changed by hand: restore it"):
        split_test(np.zeros(10, int), names, names, 0.5, record)  # as if it were that of another fraction
    assert split_test(np.zeros(10, int), names, names, 0.3, record).tolist() == first


@pytest.fixture
def three(photos, write_photos, workplace):
    """The data set `photos` with validation images of its own: `val/`, and the test images in `test/`."""
    (photos / "val").rename(photos / "test")
    rng = np.random.default_rng(5)
    for name in ("blue", "green", "red"):
        (photos / "val" / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (24, 28, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(photos / "val" / name / f"{number}.png")
    return photos


def test_given_validation_images_are_not_split_again(make_config, three, capsys):
    data = open_data(make_config("data.val_fraction=0.5", "data.test_fraction=0.5"))
    paths = json.loads((data.directory / "paths.json").read_text())[12:]
    assert {paths[row].split("/")[0] for row in data.validation_rows} == {"val"}
    assert {paths[row].split("/")[0] for row in data.training_rows} == {"train"}
    assert data.summary.counts.model_dump() == {"train": 30, "validation": 9, "test": 12}
    assert data.summary.per_class.validation == (3, 3, 3)
    assert data.summary.origins.validation == "val/"
    assert data.summary.test_fraction is None
    errors = capsys.readouterr().err
    assert "`data.val_fraction` has no effect: these images are given, in val/" in errors
    assert "`data.test_fraction` has no effect: these images are given, in test/" in errors


def test_training_images_that_duplicate_validation_images_are_leaks(make_config, three):
    shutil.copy(three / "val" / "red" / "0.png", three / "train" / "red" / "same.png")
    copy_image(three / "test" / "blue" / "1.png", three / "val" / "blue" / "near.jpg")
    shutil.copy(three / "val" / "blue" / "near.jpg", three / "train" / "blue" / "near.jpg")
    data = open_data(make_config())
    reasons = {file.path: file.reason for file in data.summary.leaked}
    assert reasons["train/red/same.png"] == "is an exact duplicate of the validation image val/red/0.png"
    assert reasons["val/blue/near.jpg"] == "is a near-duplicate of the test image test/blue/1.png"
    assert reasons["train/blue/near.jpg"].startswith("is an exact duplicate of the validation image val/blue/near.jpg")
    assert data.summary.counts.model_dump() == {"train": 30, "validation": 9, "test": 12}


def test_the_hash_includes_the_splits(make_config, three):
    before = load_pack(make_config()).manifest.hash
    (three / "val").rename(three / "other")
    (three / "test").rename(three / "val")
    (three / "other").rename(three / "test")
    assert load_pack(make_config()).manifest.hash != before


def test_moved_table_settings_keep_their_pack(make_config, unsplit):
    rows = [f"{path.relative_to(unsplit)},{path.parent.name}" for path in sorted(unsplit.glob("*/*"))]
    (unsplit / "table.csv").write_text("\n".join(["a,b", *rows]))
    words = ("data.table=table.csv", "data.file_column=a", "data.label_column=b")
    data = open_data(make_config(*words))
    assert data.summary.origins.train == "table.csv"
    assert data.summary.counts.test == 6
    assert {stale for _, _, stale in remove_stale_packs(make_config(*words))} == {False}
    (unsplit / "table.csv").write_text("\n".join(["a,b", *rows[:-1], f"{rows[-1].split(',')[0]},blue"]))
    assert {stale for _, _, stale in remove_stale_packs(make_config(*words))} == {True}


def test_a_lost_or_foreign_record_of_the_sides_is_named(make_config, unsplit, capsys):
    load_pack(make_config())
    record = Path("data/splits/photos-0.2.csv")
    text = record.read_text()
    assert capsys.readouterr().err == ""
    record.unlink()
    load_pack(make_config("data.near_duplicates=false"))  # another pack
    assert f"{record} is missing, so the test images are chosen anew" in capsys.readouterr().err
    assert record.read_text() == text
    record.write_text(sign_lines("sha256,split\n" + "0" * 64 + ",test\n", subject="0.2"))
    load_pack(make_config("data.bit_depth=12"))
    assert f"{record} lists none of the images" in capsys.readouterr().err
