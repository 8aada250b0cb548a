import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from keras_inat import files
from keras_inat.errors import FileError, UserError
from keras_inat.files import (
    MACHINE,
    append_jsonl,
    hash_file,
    hold_lock,
    read_jsonl,
    remove_temporary_files,
    suggest_path,
    write_atomically,
    write_folder_atomically,
    write_text,
)


def refuse(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def umask():
    """Files are writable for the group."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "folder"
    with write_folder_atomically(path) as temporary:
        (temporary / "old").write_text("old")
        assert not path.exists()
    with write_folder_atomically(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "new").write_text("new")
    assert [file.relative_to(path).as_posix() for file in path.rglob("*")] == ["inner", "inner/new"]

    def write_badly():
        with write_folder_atomically(path) as temporary:
            (temporary / "half").write_text("half")
            refuse(errno.ENOSPC)()

    with pytest.raises(FileError, match=r"cannot write .*deep/folder: No space left on device: free some space"):
        write_badly()
    assert (path / "inner" / "new").read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("nowhere"), Path.touch])
def test_what_is_in_place_of_a_folder_is_replaced(tmp_path, put):
    path = tmp_path / "folder"
    put(path)
    with write_folder_atomically(path) as temporary:
        (temporary / "new").touch()
    assert list(tmp_path.rglob("*")) == [path, path / "new"]


def test_a_name_that_is_not_text_is_written_with_escapes(tmp_path):
    write_text(tmp_path / "x", os.fsdecode(b"\xff.png"))
    assert (tmp_path / "x").read_text() == r"\udcff.png"


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".part-1").mkdir()
    (tmp_path / ".part-1" / "half").touch()
    (tmp_path / ".part-2.onnx").touch()
    (tmp_path / "kept").touch()
    remove_temporary_files(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


def test_a_write_removes_what_ended_processes_left_beside_the_file(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = [tmp_path / f".part-0123abcd-{MACHINE}-{ended.pid}-0123{end}" for end in ("", ".png", ".weights.h5")]
    for path in left[1:]:
        path.touch()
    left[0].mkdir()
    kept = tmp_path / f".part-0123abcd-{MACHINE}-{os.getppid()}-0123.png"
    kept.touch()
    write_text(tmp_path / "a.txt", "a")
    assert sorted(tmp_path.iterdir()) == [kept, tmp_path / "a.txt"]
    write_text(tmp_path / "a", "a")


def test_a_file_is_identified_by_its_contents(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    assert hash_file(tmp_path / "a") == expected


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with write_atomically(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()

    def write_badly():
        with write_atomically(path) as temporary:
            temporary.write_text("half of the ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_badly()
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_only_temporary_files_are_removed(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".notes").write_text("mine")
    with write_atomically(tmp_path / "a.txt") as temporary:
        os.link(temporary, tmp_path / f"{temporary.name}-left")
    remove_temporary_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".ipynb_checkpoints", ".notes", "a.txt"]


def test_lines_that_are_not_json_are_skipped(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n\n')
    append_jsonl(path, {"run": "one\u2028two"})  # Unicode has a line separator of its own
    assert read_jsonl(path) == [{"run": "one\u2028two"}]


def test_an_incomplete_line_is_skipped(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"epoch": 1})
    with open(path, "a") as file:
        file.write('{"epoch": 2, "los')
    assert read_jsonl(path) == [{"epoch": 1}]
    append_jsonl(path, {"epoch": 3})  # and it spoils no other line
    assert read_jsonl(path) == [{"epoch": 1}, {"epoch": 3}]


def test_files_and_locks_have_the_permissions_of_the_umask(tmp_path, umask, monkeypatch):
    # Mounts of CIFS, exFAT and S3 refuse to change permissions.
    monkeypatch.setattr(os, "chmod", refuse(errno.EPERM))
    monkeypatch.setattr(Path, "chmod", refuse(errno.EPERM))
    write_text(tmp_path / "deep" / "a.txt", "text")
    append_jsonl(tmp_path / "b.jsonl", {})
    with hold_lock(tmp_path / "lock"):
        modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("deep", "deep/a.txt", "b.jsonl", "lock")]
    assert modes == [0o775, 0o664, 0o664, 0o664]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_refused_write_names_the_file(tmp_path, monkeypatch, number):
    monkeypatch.setattr(Path, "touch", refuse(number))
    with pytest.raises(FileError, match=f"^cannot write .*a.txt: {os.strerror(number)}: "):
        write_text(tmp_path / "a.txt", "text")
    monkeypatch.setattr(files, "_append", refuse(number))
    with pytest.raises(FileError, match=f"^cannot write .*b.jsonl: {os.strerror(number)}: "):
        append_jsonl(tmp_path / "b.jsonl", {})


def test_a_file_system_without_sync_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    write_text(tmp_path / "a.txt", "text")
    append_jsonl(tmp_path / "b.jsonl", {"a": 1})
    assert (tmp_path / "a.txt").read_text() == "text"
    assert read_jsonl(tmp_path / "b.jsonl") == [{"a": 1}]
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(FileError, match="Input/output error: check the disk"):
        write_text(tmp_path / "a.txt", "other")
    assert (tmp_path / "a.txt").read_text() == "text"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_gets_files_as_locks(tmp_path, monkeypatch, number, capsys):
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    lock = tmp_path / "lock"
    with hold_lock(lock, "busy"):
        with pytest.raises(UserError) as caught, hold_lock(lock, "busy"):
            pass
        (marker,) = [path for path in tmp_path.iterdir() if path.stat().st_size]
        assert str(caught.value) == f"busy (if there is none, delete {marker})"
    with hold_lock(lock, "busy"):  # it was released
        pass
    assert capsys.readouterr().err == ""


def test_a_lock_of_another_user_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(filelock.FileLock, "acquire", refuse(errno.EACCES))
    with (
        pytest.raises(
            FileError, match=r"^cannot lock .*\.sweep\.lock: Permission denied: ask its owner for access, or"
        ),
        hold_lock(tmp_path / ".sweep.lock"),
    ):
        pass


def test_waiting_for_a_lock_is_announced(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "NOTICE_SECONDS", 0.05)
    lock = tmp_path / "lock"
    waits = threading.Event()
    monkeypatch.setattr(files, "warn", lambda message: (print(message), waits.set()))
    got = []

    def wait():
        with hold_lock(lock):
            got.append(True)

    with hold_lock(lock, "busy"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waits.wait(10)
        assert got == []
    thread.join(10)
    assert got == [True]
    assert capsys.readouterr().out == f"waiting for another process, which holds {lock}\n"


@pytest.mark.parametrize(
    ("given", "closest"),
    [
        ("runs/train-best/20261201-101010-fist-seed0", "runs/train-best/20261201-101010-first-seed0"),
        ("runs/train-bets/20261201-101010-first-seed0/", "runs/train-best/20261201-101010-first-seed0"),
        ("runs\\train-best\\20261201-101010-first-seed0", "runs/train-best/20261201-101010-first-seed0"),
        ("photo.jgp", "Photo.JPG"),
        ("./photo.jgp", "Photo.JPG"),
        ("Photo.JPG", None),
        ("C:\\Users\\me\\birds", None),
        ("elsewhere/photo.jpg", None),
        ("Photo.JPG/photo.jpg", None),
    ],
)
def test_the_closest_path_is_suggested(workplace, given, closest):
    (workplace / "runs/train-best/20261201-101010-first-seed0").mkdir(parents=True)
    (workplace / "Photo.JPG").touch()
    assert suggest_path(given) == (f" Did you mean {closest!r}?" if closest else "")


def test_a_lock_that_the_process_holds_already_is_an_error_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "NOTICE_SECONDS", 0.01)
    (tmp_path / "link").symlink_to(tmp_path)
    again = hold_lock(tmp_path / "link" / "lock")
    with hold_lock(tmp_path / "lock"), pytest.raises(FileError, match=r"cannot lock .*link/lock: Resource deadlock"):
        again.__enter__()
