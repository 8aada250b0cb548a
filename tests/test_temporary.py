"""The temporary folder of a command."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from keras_inat import temporary
from keras_inat.files import MACHINE, START
from keras_inat.temporary import use_temporary_folder

# As `multiprocessing` and W&B do: the folder is made during the command and used when Python ends.
PROGRAM = """
import atexit, os, sys, tempfile
import keras_inat.temporary
from keras_inat import __main__

def run(arguments):
    folder = tempfile.mkdtemp()
    atexit.register(lambda: print(os.path.isdir(folder)))
    print(folder)
    return 0

keras_inat.temporary.MAX_LENGTH = 10_000
__main__.main = run
__main__.enter()
"""


@pytest.fixture(autouse=True)
def parent(tmp_path, monkeypatch):
    """An empty folder as that of the system."""
    monkeypatch.setattr(temporary, "MAX_LENGTH", 200)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", "ray")
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def list_folder(parent):
    return [path.name for path in parent.iterdir()]


def test_all_temporary_files_are_in_one_folder_that_goes(parent):
    with use_temporary_folder():
        (folder,) = parent.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert Path(tempfile.mkdtemp()).parent == folder
        assert subprocess.check_output(["sh", "-c", "echo $TMPDIR"], text=True).strip() == str(folder)
        with use_temporary_folder():
            assert Path(tempfile.gettempdir()).parent == folder
    assert list_folder(parent) == []
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(parent)


def test_the_folders_of_ended_processes_are_removed(parent):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = [
        f"inat-{MACHINE}-{os.getpid()}-{START}",
        f"inat-{MACHINE}-{os.getppid()}-{START}",
        f"inat-{MACHINE}-{os.getppid()}-0000",
        f"inat-{(int(MACHINE, 16) + 1) % 0x10000:04x}-{ended.pid}-{START}",
        "inat-ournalists",
    ]
    # A restarted container gives its processes the same numbers.
    removed = [
        f"inat-{MACHINE}-{ended.pid}-{START}",
        f"inat-{MACHINE}-{os.getpid()}-{'0000' if START != '0000' else '1'}",
    ]
    for name in (*kept, *removed):
        (parent / name).mkdir()
        (parent / name / "file").touch()
    temporary.remove_ownerless(parent, "inat")
    assert sorted(list_folder(parent)) == sorted(kept)


def test_a_folder_is_not_used_if_sockets_could_have_no_place_there(parent, monkeypatch):
    monkeypatch.setattr(temporary, "MAX_LENGTH", 5)
    with use_temporary_folder():
        assert tempfile.gettempdir() == str(parent)
    assert list_folder(parent) == []


def test_exit_handlers_of_libraries_find_their_files_and_nothing_stays(parent):
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    folder, found = done.stdout.splitlines()
    assert folder.startswith(f"{parent}/inat-")
    assert (found, done.stderr, done.returncode) == ("True", "", 0)
    assert list_folder(parent) == []
