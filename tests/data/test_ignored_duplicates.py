"""Pairs that the user calls different, from the file to the splits."""

import json

import pytest
from PIL import Image
from test_duplicates import CHANGES, encode, paint

from keras_inat.data.dataset import open_data
from keras_inat.data.packs import remove_stale_packs
from keras_inat.errors import UserError
from keras_inat.settings import roles
from keras_inat.settings.catalog import select


@pytest.fixture
def photos(workplace):
    """Two classes, and in `train/` a smaller copy of a test image."""
    for number in range(12):
        split = "val" if number < 2 else "train"
        folder = workplace / "photos" / split / ("a" if number % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(encode(paint(number)))
    (workplace / "photos/train/b/copy.jpg").write_bytes(CHANGES["smaller"](paint(0)))
    return workplace / "photos"


def read_scan(data):
    return json.loads((data.directory / "scan.json").read_text())


def test_a_wrong_pair_is_overruled(make_config, photos, workplace):
    found = read_scan(open_data(make_config()))
    (pair,) = found["duplicates"]
    assert (pair["of"], pair["path"], pair["mirrored"]) == ("val/b/0.jpg", "train/b/copy.jpg", False)
    assert 0.82 * pair["cells"] <= pair["agreeing_cells"] <= pair["cells"] > 50
    assert [file["path"] for file in found["leaked"]] == ["train/b/copy.jpg"]

    (workplace / "different.csv").write_text("train/b/copy.jpg,val/b/0.jpg\n")
    data = open_data(make_config("data.ignore_duplicates=different.csv"))
    overruled = read_scan(data)
    assert overruled["duplicates"] == overruled["leaked"] == []
    assert overruled["counts"]["train"] == found["counts"]["train"] + 1
    assert overruled["hash"] != found["hash"]
    # Both packs are current, and another list needs a pack of its own.
    assert [stale for _, _, stale in remove_stale_packs(make_config())] == [False, False]
    (workplace / "different.csv").write_text("train/b/4.jpg,val/b/0.jpg\n")
    assert read_scan(open_data(make_config("data.ignore_duplicates=different.csv")))["leaked"] == found["leaked"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read 'different.csv'"),
        ("train/b/copy.jpg\n", "a line of 'different.csv' must be two paths. Received: 'train/b/copy.jpg'."),
        ("train/b/copy.jpg,val/b/0.jpeg\n", "names 'val/b/0.jpeg', which is not a file of .*photos"),
    ],
)
def test_a_file_that_lists_no_pairs_is_refused(make_config, photos, workplace, monkeypatch, content, message):
    monkeypatch.setattr("keras_inat.data.packs.scan_files", lambda *_: pytest.fail("decoded the images before"))
    if content is not None:
        (workplace / "different.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        open_data(make_config("data.ignore_duplicates=different.csv"))


def test_a_file_that_changes_during_the_search_is_named(make_config, photos, monkeypatch):
    monkeypatch.setattr("keras_inat.data.duplicates.decode", lambda *_, **options: int("x"))
    with pytest.raises(UserError, match=r"val/b/0.jpg of .*photos has changed: run it again"):
        open_data(make_config())


def test_images_of_another_kind_than_photographs_are_compared(make_config, photos):
    Image.effect_noise((40, 40), 90).save(photos / "train/a/noise.png")
    Image.new("RGB", (200, 20), "red").save(photos / "train/a/plain.png")
    assert len(read_scan(open_data(make_config()))["duplicates"]) == 1


def test_the_pairs_identify_the_images_wherever_their_file_is(make_config, photos, workplace):
    (workplace / "different.csv").write_text("train/b/4.jpg,train/b/6.jpg\n")
    whole = open_data(make_config())
    data = open_data(make_config("data.ignore_duplicates=different.csv"))
    assert data.hash != whole.hash
    (workplace / "different.csv").rename(workplace / "moved.csv")
    config = make_config("data.ignore_duplicates=moved.csv")
    assert open_data(config).directory == data.directory
    assert not {"data.ignore_duplicates", "data.exclude"} & select(config, roles.TRACKED).keys()
    assert not {"data.ignore_duplicates", "data.exclude"} & select(config, roles.RUN).keys()
