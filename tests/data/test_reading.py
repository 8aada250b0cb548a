import contextlib
import os
import re
import socket
import tracemalloc
import zipfile

import pytest
from hostile import encode
from PIL import Image

from keras_inat.data.archive import read_file
from keras_inat.data.reading import decode_files
from keras_inat.data.source import Source
from keras_inat.files import list_files
from keras_inat.store.records import Preparation

REASONS = {
    "pipe.png": "is not a regular file",
    "socket.png": "is not a regular file",
    "device.png": "is not a regular file",
    "folder.png": "is a folder",
    "broken.png": "is a broken link",
    "loop.png": "is a broken link",
    "huge.png": r"is too large for an image \(40960 MiB\)",
    # The first page of a process cannot be read: Linux answers as for a broken disk.
    "memory.png": r"cannot be read \(Input/output error\)",
    "text.png": "is not an image",
}


@pytest.fixture
def special(photos, monkeypatch):
    """Writes special files into a class of `photos`, and returns its folder."""
    folder = photos / "train" / "red"
    monkeypatch.chdir(folder)  # the path of a socket has at most 107 bytes
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    for name, target in (
        ("device.png", "/dev/zero"),
        ("broken.png", "gone.png"),
        ("loop.png", "loop.png"),
        ("memory.png", "/proc/self/mem"),
    ):
        os.symlink(target, name)
    os.mkdir("folder.png")
    with open("huge.png", "wb") as file:
        file.truncate(40 << 30)
    (folder / "text.png").write_text("text")
    return folder


def test_special_files_are_skipped_with_a_reason(special, capsys):
    paths = sorted(special.iterdir())
    names = [name for name, _ in decode_files(((path.name, path) for path in paths), 16, Preparation())]
    assert names == [path.name for path in paths if path.name not in REASONS]
    warnings = dict(
        re.fullmatch("warning: skipped (.*): it (.*)", line).groups() for line in capsys.readouterr().err.splitlines()
    )
    assert warnings.keys() == REASONS.keys()
    assert all(re.fullmatch(REASONS[name], reason) for name, reason in warnings.items())


def test_special_files_of_a_folder_are_no_images(special):
    names = {path.name for path in list_files(special)}
    assert names & REASONS.keys() == {"huge.png", "memory.png", "text.png"}
    assert len(names) > 3


def test_a_folder_that_cannot_be_listed_is_named(photos, monkeypatch, capsys):
    scan_folder = os.scandir

    def refuse(folder):
        if os.fspath(folder).endswith("green"):
            raise PermissionError(13, "Permission denied", os.fspath(folder))
        return scan_folder(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    names = {path.parent.name for path in list_files(photos / "train")}
    assert "red" in names
    assert "green" not in names
    assert capsys.readouterr().err == f"warning: skipped the folder {photos / 'train' / 'green'}: Permission denied\n"


@contextlib.contextmanager
def write_deep_file(folder):
    """Writes a file below 1,200 folders. They are removed at the end, which `shutil.rmtree` could not do."""
    folder.mkdir(exist_ok=True)
    with contextlib.chdir(folder):
        for _ in range(1200):
            os.mkdir("x")
            os.chdir("x")
        with open("deep.png", "wb"):
            pass
        try:
            yield
        finally:
            os.remove("deep.png")
            for _ in range(1200):
                os.chdir("..")
                os.rmdir("x")


@pytest.mark.parametrize("place", ["train/red", "elsewhere"])
def test_very_deep_folders_are_listed(photos, place):
    count = len(list_files(photos))
    files = Source(photos).files
    with write_deep_file(photos / place):
        assert len(list_files(photos)) == count + 1
        nested = [file for file in Source(photos).files if file not in files]
    assert [file.is_nested for file in nested] == [True] * (place == "train/red")


@pytest.mark.parametrize("folder", ["", "x/" * 1500])
def test_very_deep_folders_of_archives_are_listed(photos, tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        for file in list_files(photos):
            archive.write(file, f"{folder}{file.relative_to(photos)}")
        archive.writestr("x/" * 1500 + "deep.png", b"")
    assert len(Source(tmp_path / "deep.zip").files) == len(Source(photos).files)


def test_a_file_becomes_a_pipe_before_it_is_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    regular = os.stat(__file__)
    monkeypatch.setattr("keras_inat.data.archive.Path.stat", lambda _: regular)
    assert read_file(tmp_path / "pipe.png") == b""


def test_an_error_of_the_whole_disk_is_raised(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")

    def refuse(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("keras_inat.data.archive.open", refuse, raising=False)
    with pytest.raises(OSError, match="Too many open files"):
        read_file(tmp_path / "a.png")


def test_a_file_takes_the_memory_of_its_size(tmp_path):
    (tmp_path / "a.png").write_bytes(bytes(1000))
    tracemalloc.start()
    try:
        assert read_file(tmp_path / "a.png") == bytes(1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_an_image_in_memory_that_cannot_be_used_is_skipped_with_a_reason(capsys):
    thin = encode(Image.new("RGB", (500, 10)))
    files = [("thin", lambda: thin), ("empty", lambda: b""), ("sound", lambda: encode(Image.new("RGB", (20, 20))))]
    assert [name for name, _ in decode_files(files, 16, Preparation())] == ["sound"]
    assert capsys.readouterr().err.splitlines() == [
        "warning: skipped thin: it is too long and thin (500 x 10 pixels)",
        "warning: skipped empty: it is empty",
    ]
