"""Archives that are refused: malicious paths, special files, overlaps and zip bombs."""

import stat
import zipfile

import pytest
from archives import make_archive, read_tree

from keras_inat.data import archive as archives
from keras_inat.data.unpacking import unpack
from keras_inat.errors import UserError


def rename(name):
    return lambda info: setattr(info, "filename", name)


def mark(mode):
    return lambda info: setattr(info, "external_attr", (mode | 0o777) << 16)


def declare(num_bytes):
    return lambda info: setattr(info, "file_size", num_bytes)


OUTSIDE = "has no path within the target folder"
SPECIAL = "is a link or another special file"
REPEATED = "has the same path as another member"
MALICIOUS = {
    "nameless": (rename("\0photos/train/red/x.png"), OUTSIDE),
    "absolute": (rename("/tmp/train/red/x.png"), OUTSIDE),
    "absolute backslash": (rename("\\tmp\\x.png"), OUTSIDE),
    "drive": (rename("C:\\train\\x.png"), OUTSIDE),
    "parent folder": (rename("../../photos/train/red/x.png"), OUTSIDE),
    "parent folder as a name": (rename("photos/train/red/.."), OUTSIDE),
    "parent folder as a class": (rename("photos/train/../x.png"), OUTSIDE),
    "parent folder backslash": (rename("photos/train/red/..\\..\\..\\x.png"), OUTSIDE),
    "link": (mark(stat.S_IFLNK), SPECIAL),
    "pipe": (mark(stat.S_IFIFO), SPECIAL),
    "device": (mark(stat.S_IFBLK), SPECIAL),
    "encrypted": (lambda info: setattr(info, "flag_bits", 1), "is encrypted"),
    "repeated": (rename("photos/train/blue/0.png"), REPEATED),
    "a file and a folder": (
        rename("photos/train/blue/0.png/x.png"),
        "lies in a folder with the path of another member",
    ),
    "repeated, in another spelling": (rename("photos/./train//blue\\0.png"), REPEATED),
    "large": (declare((512 << 20) + 1), "declares 512 MiB; the limit is 512 MiB"),
    "overlapping": (lambda info: setattr(info, "header_offset", 0), "overlaps another member"),
    "beyond the end": (lambda info: setattr(info, "compress_size", 12_000), "overlaps another member"),
}


@pytest.mark.parametrize(("spoil", "words"), MALICIOUS.values(), ids=MALICIOUS)
def test_a_malicious_archive_is_refused_before_anything_is_written(tmp_path, spoil, words):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        members.writestr("photos/train/red/bad.png", bytes(10_000))
        info = members.getinfo("photos/train/red/bad.png")
        spoil(info)  # in the table of contents
    before = read_tree(tmp_path)
    with pytest.raises(UserError, match=f"photos.zip is refused: its member .*{words}") as error:
        unpack(archive, tmp_path / "data" / "mine")
    assert repr(info.filename) in str(error.value) or words == REPEATED or info.filename.startswith("\0")
    assert "\n" not in str(error.value)
    assert read_tree(tmp_path) == before
    assert not (tmp_path / "data").exists()


def test_a_bomb_is_refused_by_its_declared_size(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        for index in range(3):
            members.writestr(f"photos/train/red/bomb{index}.png", b"")
            members.getinfo(f"photos/train/red/bomb{index}.png").file_size = 400 << 20
    with pytest.raises(
        UserError, match=r"'photos/train/red/bomb0.png' is the largest of .* declare 1\.2 GiB in .* 0\.0 MiB"
    ):
        unpack(archive, tmp_path / "mine")


@pytest.mark.parametrize(("num_bytes", "bound", "refused"), [(4, 3, True), (4, 5, False), (0.05, 0.01, False)])
def test_a_bomb_is_large_and_highly_compressed(tmp_path, monkeypatch, num_bytes, bound, refused):
    monkeypatch.setattr(archives, "BOMB_BYTES", int(bound * 2**20))
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for name in ("train/blue/0", "train/red/0", "val/blue/0", "val/red/0"):
            members.writestr(f"{name}.png", bytes(int(num_bytes * 2**18)))
    if refused:
        with pytest.raises(UserError, match="is the largest of members that declare"):
            unpack(archive, tmp_path / "mine")
    else:
        assert unpack(archive, tmp_path / "mine") == 4
