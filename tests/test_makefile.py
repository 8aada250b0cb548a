import os
import subprocess
from pathlib import Path

import pytest

from keras_inat.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent


def make(*arguments, **environment):
    # Without the variables that an outer `make test` hands down.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment).stdout


def test_help_is_the_default_and_lists_every_target():
    listed = make()
    assert listed == make("help")
    for name in [*COMMANDS, "test", "lint"]:
        assert f"  make {name} " in listed
    assert "DATA STRATEGY BACKBONE WEIGHTS UNFREEZE" in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_target_that_calls_it(name):
    assert f".venv/bin/python -m keras_inat {name}" in make("-n", name)


def test_variables_are_handed_over_as_written():
    data = "a folder/it's $HOME; rm -rf x"
    told = make("-n", "sweep", f"DATA={data.replace('$', '$$')}", "TRIALS=3", "ARGS=model.filters=8 run.seed=1")
    line = told.splitlines()[-1]
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
    assert words.splitlines()[-5:] == ["sweep", f"DATA={data}", "TRIALS=3", "model.filters=8", "run.seed=1"]


def test_variables_of_the_environment_are_not_ours():
    assert "NAME=" not in make("-n", "sweep", NAME="my-laptop")
