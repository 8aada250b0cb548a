import os
import zipfile

import pytest

from keras_inat.data.source import Source, open_source
from keras_inat.errors import UserError
from keras_inat.settings.loading import load_config


def make_zip(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def test_a_folder_its_parent_and_its_zip_have_the_same_files(photos, tmp_path):
    archive = make_zip(photos, tmp_path / "photos.zip", prefix="some/photos/")
    direct = Source(photos)
    parent = Source(photos.parent)
    zipped = Source(archive)
    for source in (direct, parent, zipped):
        assert source.classes == ("blue", "green", "red")
        assert [(f.split, f.class_name) for f in source.files] == [(f.split, f.class_name) for f in direct.files]
        assert [source.read(f) for f in source.files[:5]] == [direct.read(f) for f in direct.files[:5]]
    assert direct.name == zipped.name == "photos"
    assert len(direct.files) == 3 * (10 + 4)


def test_a_damaged_member_is_reported_for_every_compression(photos, tmp_path):
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = tmp_path / f"{compression}.zip"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for file in sorted(photos.rglob("*.png")):
                archive.write(file, file.relative_to(photos).as_posix())
            info = archive.infolist()[0]
        content = bytearray(path.read_bytes())
        content[info.header_offset + 40 : info.header_offset + 30 + info.compress_size] = bytes(info.compress_size - 10)
        path.write_bytes(content)
        source = Source(path)
        with pytest.raises(ValueError, match="cannot be read from the archive"):
            source.read(next(file for file in source.files if file.path == info.filename))


def test_a_data_set_may_have_the_name_of_a_split(photos, tmp_path):
    home = photos.rename(tmp_path / "train")
    for source in (Source(home), Source(make_zip(home, tmp_path / "train.zip", prefix="train/"))):
        assert source.classes == ("blue", "green", "red")
        assert len(source.files) == 3 * (10 + 4)


def test_several_data_sets_are_refused(write_photos, tmp_path):
    several = tmp_path / "several"
    for name in ("mine", "photos"):
        write_photos(several / name, num_train=2)
    for path in (several, make_zip(several, tmp_path / "both.zip", prefix="all/")):
        with pytest.raises(UserError, match=r"contains several data sets. Use one of them: (all/)?mine, (all/)?photos"):
            Source(path)
    (several / "mine" / "val").rename(several / "mine" / "more")  # This is not a whole data set any more.
    assert Source(several).home == "photos"
    assert Source(make_zip(several, tmp_path / "one.zip")).home == "photos"


def test_hidden_and_system_files_are_ignored(photos):
    before = Source(photos).files
    for stray in (".DS_Store", "train/.DS_Store", "train/red/.DS_Store", "val/red/Thumbs.db", "train/list.txt"):
        (photos / stray).write_text("stray")
    (photos / "train" / ".git").mkdir()
    assert Source(photos).files == before


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda p: [f.unlink() for f in (p / "train/red").iterdir()], "train/red is empty"),
        (
            lambda p: (p / "val/red").rename(p / "val/rot"),
            "have different classes: only in train/: 'red'; only in val/: 'rot'",
        ),
    ],
)
def test_invalid_layouts_are_refused(photos, break_it, words):
    break_it(photos)
    with pytest.raises(UserError, match=words):
        Source(photos)


def test_a_missing_source_names_the_alternatives():
    with pytest.raises(UserError, match=r"'nowhere' does not exist: run `keras-inat data` .* DATA=demo"):
        open_source(load_config(["DATA=nowhere"]))


def test_files_that_are_not_archives_are_refused(tmp_path):
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(UserError, match="cannot be read as a zip"):
        open_source(load_config([f"DATA={tmp_path / 'a.zip'}"]))
    (tmp_path / "a.txt").write_text("no zip")
    with pytest.raises(UserError, match=r"must be a folder, an archive \(\.zip, .*\) or 'demo'"):
        open_source(load_config([f"DATA={tmp_path / 'a.txt'}"]))


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"a\.zip' is neither a folder nor a regular file"):
        open_source(load_config([f"DATA={tmp_path / 'a.zip'}"]))
