"""Output in encodings that lack some characters."""

import os
import subprocess
import sys

import pytest

TEXT = "−6.7 % × 猫 photo\udcff.png → é"


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("utf-8", "−6.7 % × 猫 photo\\udcff.png → é"),
        ("latin-1", "-6.7 % × \\u732b photo\\udcff.png -> é"),
        ("ascii", "-6.7 % x \\u732b photo\\udcff.png -> \\xe9"),
    ],
)
def test_every_text_can_be_printed(encoding, line):
    program = f"from keras_inat.streams import prepare_streams; prepare_streams(); print({TEXT!r})"
    variables = os.environ | {"PYTHONIOENCODING": encoding}
    output = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, check=True).stdout
    assert output.decode(encoding).strip() == line


def test_closed_streams_are_opened(tmp_path):
    program = (
        "import os, sys; from keras_inat.streams import prepare_streams; prepare_streams(); print('x')\n"
        "assert [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)] == [0, 1, 2]\n"
        "open('notes', 'w').write('whole'); print('y', flush=True); print('z', file=sys.stderr)"
    )
    command = ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, program]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert (tmp_path / "notes").read_text() == "whole"
