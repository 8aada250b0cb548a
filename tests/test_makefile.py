import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from keras_inat.commands.catalog import COMMANDS

ROOT = Path(__file__).parent.parent


def make(*arguments, **environment):
    # Without the variables that an outer `make test` hands down.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "ARGS"}
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
    assert f"KERAS_INAT_PROGRAM=make .venv/bin/python -m keras_inat {name}" in make("-n", name)


def test_messages_name_the_program_as_it_was_called():
    command = [sys.executable, "-m", "keras_inat", "sweep", "DATA=nowhere"]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_INAT_PROGRAM": "make"})
    assert "does not exist: run `make data`" in told.stderr


def test_variables_are_handed_over_as_written():
    data = "a folder/it's $HOME; rm -rf x"
    told = make("-n", "sweep", f"DATA={data.replace('$', '$$')}", "TRIALS=3", "ARGS=model.filters=8 run.seed=1")
    line = told.splitlines()[-1]
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
    assert words.splitlines()[-5:] == ["sweep", f"DATA={data}", "TRIALS=3", "model.filters=8", "run.seed=1"]


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (("sweep", "TRAILS=3", "NAME=x"), "make sweep takes DATA NAME TRIALS WORKERS CLUSTER CONFIG ARGS, not TRAILS."),
        (("predict", "RUNS=x", "IMAGE=y"), "make predict takes RUN IMAGE ARGS, not RUNS."),
        (("demo", "DATA=x"), "make demo takes ARGS, not DATA."),
    ],
)
def test_a_variable_that_the_target_does_not_take_is_refused(arguments, refused):
    with pytest.raises(subprocess.CalledProcessError) as error:
        make("-n", *arguments)
    assert refused in error.value.stderr


def test_several_targets_take_what_is_theirs():
    told = make("-n", "sweep", "train-best", "report", "DATA=x", "TRIALS=3", "SEEDS=2", "STRICT=1", "PYTHON=python3")
    assert [shlex.split(line.split(" -m keras_inat ")[1]) for line in told.splitlines() if "-m keras_inat" in line] == [
        ["sweep", "DATA=x", "TRIALS=3"],
        ["train-best", "DATA=x", "SEEDS=2"],
        ["report", "STRICT=1"],
    ]


def test_variables_of_the_environment_are_not_ours():
    assert "NAME=" not in make("-n", "sweep", NAME="my-laptop")
