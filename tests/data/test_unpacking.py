"""Unpacking of archives: interruptions, leftovers, damage and lack of space."""

import random
import shutil
import zipfile

import pytest
from archives import make_archive, read_tree, run_until

from keras_inat.data.unpacking import unpack
from keras_inat.errors import UserError


def test_an_unpacking_resumes_after_any_kill(tmp_path):
    archive = make_archive(tmp_path / "photos.zip", num_files=400, num_bytes=2000)
    whole = tmp_path / "whole"
    assert unpack(archive, whole) == 400
    temporary = tmp_path / ".mine.unpacking"
    folder = tmp_path / "mine"
    slowly = (
        "import time; from pathlib import Path\n"
        "from keras_inat.data.source import Source; from keras_inat.data.unpacking import unpack\n"
        "read = Source.read\n"
        "def read_slowly(*arguments): time.sleep(0.003); return read(*arguments)\n"
        "Source.read = read_slowly; unpack(Path('photos.zip'), Path('mine'))"
    )
    rng = random.Random(2)
    num_files = 0
    for _ in range(4):
        num_files += rng.randrange(20, 70)
        run_until(slowly, lambda aim=num_files: len(list(temporary.glob("*/*/*"))) >= aim)
        assert not folder.exists()
    before = {path.relative_to(temporary): path.stat().st_mtime_ns for path in temporary.glob("*/*/*")}
    assert len(before) >= num_files > 80
    assert unpack(archive, folder) == 400
    assert read_tree(folder) == read_tree(whole)
    assert not temporary.exists()
    kept = [path for path, when in before.items() if (folder / path).stat().st_mtime_ns == when]
    assert len(kept) >= len(before) - 1  # except the file that was being written


def test_an_unpacking_with_nested_folders_resumes(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        members.writestr("photos/train/red/a/b/c/deep.png", b"deep")
    assert unpack(archive, tmp_path / "mine") == 5
    whole = read_tree(tmp_path / "mine")
    (tmp_path / "mine").rename(tmp_path / ".mine.unpacking")
    (tmp_path / ".mine.unpacking" / "train" / "blue" / "0.png").unlink()
    assert unpack(archive, tmp_path / "mine") == 5
    assert read_tree(tmp_path / "mine") == whole


def test_leftovers_of_an_earlier_unpacking_are_verified(tmp_path):
    archive = make_archive(tmp_path / "photos.zip", num_files=12)
    assert unpack(archive, tmp_path / "whole") == 12
    left = tmp_path / ".mine.unpacking"
    shutil.copytree(tmp_path / "whole", left)
    red = left / "train" / "red"
    (red / "0.png").write_bytes((red / "0.png").read_bytes()[:100])  # truncated
    (red / "1.png").write_bytes(bytes(10_000))  # the right size, other contents
    (red / "2.png").unlink()
    number = (left / "val" / "blue" / "0.png").stat().st_ino
    assert unpack(archive, tmp_path / "mine") == 12
    assert read_tree(tmp_path / "mine") == read_tree(tmp_path / "whole")
    assert (tmp_path / "mine" / "val" / "blue" / "0.png").stat().st_ino == number


@pytest.mark.parametrize("stray", ["file", "folder", "class", "linked file", "linked folder"])
def test_leftovers_of_another_archive_are_discarded(tmp_path, stray):
    archive = make_archive(tmp_path / "photos.zip", num_files=12)
    assert unpack(archive, tmp_path / "whole") == 12
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    left = tmp_path / ".mine.unpacking"
    shutil.copytree(tmp_path / "whole", left)
    red = left / "train" / "red"
    if stray == "file":
        (red / "9.png").write_text("of another archive")
    elif stray == "folder":
        (red / "2.png").unlink()
        (red / "2.png").mkdir()
    elif stray == "class":
        (left / "train" / "green").mkdir()
        (left / "train" / "green" / "0.png").write_text("of another archive")
    elif stray == "linked file":
        (red / "0.png").rename(outside / "precious")
        (red / "0.png").symlink_to(outside / "precious")
    else:
        (left / "test").symlink_to(outside)
    before = read_tree(outside)
    assert unpack(archive, tmp_path / "mine") == 12
    assert read_tree(tmp_path / "mine") == read_tree(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["train", "val"]
    assert not [path for path in (tmp_path / "mine").rglob("*") if path.is_symlink()]
    assert read_tree(outside) == before


def test_an_existing_folder_is_not_overwritten(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine exists already: delete it first, or give another DATA"):
        unpack(archive, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_only_missing_files_need_disk_space(tmp_path, monkeypatch):
    archive = make_archive(tmp_path / "photos.zip")
    usage = type("Usage", (), {"free": 39_999})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"mine needs 0\.00 GiB more disk space, but only 0\.00 GiB are free"):
        unpack(archive, tmp_path / "mine")
    assert not (tmp_path / ".mine.unpacking").exists()
    usage.free = 30_000
    first = tmp_path / ".mine.unpacking" / "train" / "blue" / "0.png"
    first.parent.mkdir(parents=True)
    first.write_bytes(zipfile.ZipFile(archive).read("photos/train/blue/0.png"))
    assert unpack(archive, tmp_path / "mine") == 4


def test_a_damaged_member_is_named_and_a_repaired_archive_resumes(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    sound = bytearray(archive.read_bytes())
    archive.write_bytes(sound[:25_000] + bytes([sound[25_000] ^ 255]) + sound[25_001:])
    with pytest.raises(UserError, match=r"photos/val/blue/0\.png in .*photos\.zip .*Bad CRC-32"):
        unpack(archive, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    archive.write_bytes(sound)
    assert unpack(archive, tmp_path / "mine") == 4
