import os
import re
import socket
import tracemalloc

import pytest

from keras_inat.data.archive import read_file
from keras_inat.data.reading import decode_files
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
