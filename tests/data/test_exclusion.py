import os
from pathlib import Path

import numpy as np
import pytest

from keras_inat.data.dataset import open_data
from keras_inat.data.exclusion import read_exclusion
from keras_inat.data.packs import load_pack
from keras_inat.errors import UserError
from keras_inat.store.runs import RunFolder
from keras_inat.store.suspects import Suspect, Suspects, write_suspects


def test_excluded_images_take_no_part(make_config):
    Path("bad.txt").write_text("train/red/3.png\n\n  train/blue/0.png \ntrain/red/3.png\n")
    everything = open_data(make_config())
    data = open_data(make_config("data.exclude=bad.txt"))
    rows = np.concatenate([data.training_rows, data.validation_rows])
    used = {data.paths[row] for row in rows}
    assert {everything.paths[row] for row in range(30)} - used == {"train/red/3.png", "train/blue/0.png"}
    summary = data.summary
    assert (summary.num_excluded, everything.summary.num_excluded) == (2, 0)
    assert summary.per_class.train == (9, 10, 9)
    assert summary.counts.train + summary.counts.validation == 28
    assert summary.counts.test == 12
    assert data.directory == everything.directory
    assert load_pack(make_config()).manifest.counts.train == 30  # the pack itself is unchanged
    np.testing.assert_array_equal(data.images, everything.images)


def test_the_hash_depends_on_the_excluded_images_and_not_on_their_file(make_config):
    first = "train/red/3.png"
    second = "train/red/4.png"
    lists = [first, second, f"{second}\n{first}", f"{first}\n{second}"]
    hashes = [open_data(make_config()).hash]
    for number, text in enumerate(lists):
        Path(f"{number}.txt").write_text(text)
        config = make_config(f"data.exclude={number}.txt")
        hashes.append(open_data(config).hash)
        assert load_pack(config).manifest.hash == hashes[-1]  # a sweep takes it from there
    assert len(set(hashes)) == 4
    assert hashes[3] == hashes[4]


def test_excluding_an_image_that_is_skipped_anyway_changes_nothing(make_config, photos):
    (photos / "train" / "red" / "broken.png").write_bytes(b"no image")
    Path("bad.txt").write_text("train/red/broken.png")
    data = open_data(make_config("data.exclude=bad.txt"))
    assert data.summary.num_excluded == 0
    assert data.hash == open_data(make_config()).hash


def test_given_validation_images_can_be_excluded(make_config, photos):
    (photos / "val").rename(photos / "test")
    for name in ("blue", "green", "red"):
        (photos / "val" / name).mkdir(parents=True)
        for number in (8, 9):
            (photos / "train" / name / f"{number}.png").rename(photos / "val" / name / f"{number}.png")
    Path("bad.txt").write_text("train/red/3.png\nval/blue/8.png")
    data = open_data(make_config("data.exclude=bad.txt"))
    assert data.summary.per_class.train == (8, 8, 7)
    assert data.summary.per_class.validation == (1, 2, 2)
    assert (data.summary.counts.train, data.summary.counts.validation) == (23, 5)
    assert data.summary.num_excluded == 2
    assert {data.paths[row] for row in data.validation_rows if "blue" in data.paths[row]} == {"val/blue/9.png"}


def test_few_other_images_change_sides(make_config):
    Path("bad.txt").write_text("train/red/3.png")
    before = set(open_data(make_config()).validation_rows.tolist())
    after = set(open_data(make_config("data.exclude=bad.txt")).validation_rows.tolist())
    assert len(before ^ after) <= 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train/red/33.png", "Received: 'train/red/33.png' in 'bad.csv'. Did you mean 'train/red/3.png'?"),
        ("train/rde/3.png", "Did you mean 'train/red/3.png'?"),
        ("val/red/1.png", "because test images cannot be excluded. Received: 'val/red/1.png' in 'bad.csv'."),
        ("file,label\nval/red/1.png,red", "because test images cannot be excluded"),
    ],
)
def test_other_paths_are_errors(make_config, text, words):
    Path("bad.csv").write_text(text)
    with pytest.raises(UserError) as error:
        open_data(make_config("data.exclude=bad.csv"))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_excluding_all_images_of_a_class_is_an_error(make_config):
    Path("bad.txt").write_text("\n".join(f"train/red/{number}.png" for number in range(10)))
    with pytest.raises(UserError, match=r"the class 'red' has no image for training: .* or excluded"):
        open_data(make_config("data.exclude=bad.txt"))


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na/1.jpg,x\nb/2.jpg,y\n",
        "rank;file\n1;a/1.jpg\n2;b/2.jpg\n",
        "file\tlabel\r\na/1.jpg\tx\r\nb/2.jpg\t\r\n",
        "\ufefffile\na/1.jpg\n\nb/2.jpg",
        'label,file\nx,"a/1.jpg"\ny,b/2.jpg',
        "a/1.jpg\nb/2.jpg",
    ],
)
def test_tables_of_spreadsheets_and_lists_of_lines_are_read(text):
    Path("bad").write_text(text, encoding="utf-8", newline="")
    assert read_exclusion("bad") == ["a/1.jpg", "b/2.jpg"]


def test_a_missing_or_binary_file_is_an_error():
    Path("bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="must be a text file in UTF-8"):
        read_exclusion("bad.csv")
    with pytest.raises(UserError, match=r"'bad\.cvs', which does not exist\. Did you mean 'bad\.csv'\?"):
        read_exclusion("bad.cvs")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_path_that_is_not_printable_is_written_with_escapes(make_config, photos):
    red = photos / "train" / "red"
    (red / "3.png").rename(red / "3\n.png")
    Path("bad.txt").write_text("train/red/3\\n.png")
    assert open_data(make_config("data.exclude=bad.txt")).summary.num_excluded == 1


def test_the_table_of_suspects_names_files_that_look_like_formulas(tmp_path):
    names = ("=red/0.png", "'=red/0.png", "-red/\t1.png")
    columns = {"label": "=red", "suggested": "+blue", "probability_of_label": 0.1, "probability_of_suggested": 0.8}
    rows = [Suspect(file=name, rank=rank, **columns) for rank, name in enumerate(names, 1)]
    run = RunFolder(tmp_path, "suspects")
    run.suspect_pictures.write_bytes(b"pictures")
    outcome = Suspects.model_construct(suspects=tuple(rows))
    write_suspects(run, outcome)
    assert "'=red/0.png,'=red,'+blue,0.1,0.8,1\r\n" in run.suspect_table.read_bytes().decode()
    assert read_exclusion(str(run.suspect_table)) == list(names)
