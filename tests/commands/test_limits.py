"""Commands under limits of open files, memory and file sizes: one line or success, and nothing is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits of other systems differ")

COMMANDS = (("settings",), ("data", "DATA=photos"), ("predict", "IMAGE=photos/val/red/0.png"), ("report",))


def run(words, limit="true"):
    """Runs a command after a command of the shell. Returns the exit code and the lines on stderr but for warnings."""
    shell = ["sh", "-c", f'{limit}; exec "$@"', "sh"]
    done = subprocess.run([*shell, sys.executable, "-m", "keras_inat", *words], capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("warning: ", "note: "))]
    return done.returncode, lines


def read_files():
    return {path: path.read_bytes() for folder in ("photos", "runs") for path in Path(folder).rglob("*.*")}


@pytest.mark.parametrize("limit", ["ulimit -n 64", "ulimit -v 4194304", "ulimit -f 1"])
def test_a_limit_of_the_system_ends_a_command_with_one_line_or_not_at_all(photos, write_exported_run, limit):
    write_exported_run(Path("runs/train-best/20260101-000000-a"))
    before = read_files()
    for words in COMMANDS:
        code, lines = run(words, limit)
        if limit == "ulimit -f 1" and words != ("settings",):
            assert (code, len(lines)) == (1, 1), lines
            assert lines[0].startswith("error: cannot write "), lines
            assert "File too large: its size is over a limit of" in lines[0]
            code, lines = run(words)
        assert (code, lines) == (0, [])
    after = read_files()
    assert {path: after[path] for path in before} == before
    assert list(Path().rglob(".part-*")) == []
