"""The temporary folder of a command."""

import subprocess
import sys

# As `multiprocessing` and W&B do: the folder is made during the command and used when Python ends.
PROGRAM = """
import atexit, os, sys, tempfile
from keras_inat import __main__

def run(arguments):
    folder = tempfile.mkdtemp()
    atexit.register(lambda: print(os.path.isdir(folder)))
    print(folder)
    return 0

__main__.main = run
__main__.enter()
"""


def test_exit_handlers_of_libraries_find_their_files_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = f"import keras_inat.temporary\nkeras_inat.temporary.MAX_LENGTH = 10_000\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    folder, found = done.stdout.splitlines()
    assert folder.startswith(f"{tmp_path}/inat-")
    assert (found, done.stderr, done.returncode) == ("True", "", 0)
    assert list(tmp_path.iterdir()) == []
