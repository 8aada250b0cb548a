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
    program = f"from keras_inat.streams import accept_all_text; accept_all_text(); print({TEXT!r})"
    variables = os.environ | {"PYTHONIOENCODING": encoding}
    output = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, check=True).stdout
    assert output.decode(encoding).strip() == line
