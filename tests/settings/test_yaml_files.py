import os
from itertools import pairwise

import pytest

from keras_inat.errors import UserError
from keras_inat.settings.loading import load_config
from keras_inat.settings.yaml_files import MAX_BYTES, read_yaml

BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopq"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML: while parsing a flow node"),
        ("- 1\n- 2", "must hold sections"),
        ("\x00", "is not valid YAML: unacceptable character"),
        ("[" * 5000, "is not valid YAML: maximum recursion depth exceeded"),
        ("a: 0x" + "f" * 500, "it has a whole number of 2,000 bits"),
        ("a: " + "9" * 100_000, "is not valid YAML: Exceeds the limit"),
        (BOMB, "it has more than 100,000 values"),
        ('a: "\\0"', "it has a text with a NUL character"),
        ('a: "\\ud800"', "surrogates not allowed"),
        ("a: &a [*a]", "it has more than 100,000 values"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("#" * (MAX_BYTES + 1), "File too large"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_yaml(tmp_path / "c.yaml")
    assert "c.yaml" in str(error.value)
    assert len(str(error.value)) < 500 + len(str(tmp_path))


def test_a_pipe_is_no_configuration(tmp_path):
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(UserError, match=r"cannot read the configuration .*c\.yaml': Not a regular file"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize("value", ["9" * 100_000, "0x" + "f" * 100_000, "[" * 50_000, f"[{'1, ' * 10_000}]"])
def test_long_values_have_short_messages(value):
    with pytest.raises(UserError, match=r"`training\.epochs`") as error:
        load_config([f"training.epochs={value}"])
    assert len(str(error.value)) < 500
