import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keras_inat.__main__ import main
from keras_inat.commands.catalog import COMMANDS

ROOT = Path(__file__).parent.parent


def make(*arguments, directory=ROOT, **environment):
    # Without the variables that an outer `make test` hands down.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "ARGS"}
    command = ["make", "--no-print-directory", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment).stdout


def test_help_is_the_default_and_lists_every_target():
    listed = make()
    assert listed == make("help")
    for name in [*COMMANDS, "test", "lint", "audit"]:
        assert f"  make {name} " in listed
    assert "DATA STRATEGY BACKBONE WEIGHTS UNFREEZE" in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_target_that_calls_it(name):
    assert f" .venv/bin/python -m keras_inat {name}" in make("-n", name)


def test_messages_name_the_program_as_it_was_called():
    command = [sys.executable, "-m", "keras_inat", "sweep", "DATA=nowhere"]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_INAT_PROGRAM": "make"})
    assert "does not exist: run `make data`" in told.stderr


HOSTILE = [
    "$(shell touch ran)$(info ran)${HOME}",
    "$HOME $$ $x",
    "`touch ran`$(touch ran);touch ran|touch ran&",
    """it's "quoted" \\ \\'""",
    "two\nlines\n\ttouch ran\n",
    "--help",
    "-",
    "a=b:=c#d%e",
    "été ☃ \x01",
    "x; touch ran #",
]


@pytest.fixture
def clone(tmp_path):
    """A clone whose Python writes the words that it is started with, each ended by NUL."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for number, name in enumerate(("setup.cfg", "pyproject.toml", "constraints.txt")):
        os.utime(_touch(tmp_path / name), (number, number))
    for number, name in enumerate(("ready", "ready-export", "ready-dev"), 100):
        os.utime(_touch(tmp_path / ".venv" / name), (number, number))
    python = _touch(tmp_path / ".venv" / "bin" / "python")
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" KERAS_INAT_PROGRAM=$KERAS_INAT_PROGRAM\n")
    python.chmod(0o755)
    return tmp_path


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def list_variables():
    """Returns the variables of every target that starts the program, as the help lists them."""
    rows = re.findall(r"^([a-z-]+):.*\|([A-Z ]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {target: names.split() for target, names in rows if target in COMMANDS}


@pytest.mark.parametrize("target", list_variables())
def test_the_program_gets_every_variable_as_written(target, clone):
    for value in HOSTILE:
        given = [f"{name}={value}" for name in list_variables()[target]]
        words = make(*given, target, directory=clone).split("\0")
        assert words[:3] == ["-m", "keras_inat", target]
        assert words[3:-1] == [*given, "KERAS_INAT_PROGRAM=make"]
    assert not (clone / "ran").exists()


@pytest.mark.parametrize("target", ["predict", "test", "lint", "data"])
@pytest.mark.parametrize("value", HOSTILE)
def test_the_environment_is_not_run(target, value, clone):
    _touch(clone / ".venv/bin/ruff").chmod(0o755)
    _touch(clone / ".venv/bin/mypy").chmod(0o755)
    names = ("IMAGE", "RUN", "DATA", "URL", "ARGS", "PYTHON", "EXTRA", "VENV")
    words = make(target, directory=clone, **dict.fromkeys(names, value)).split("\0")
    if target in COMMANDS:
        assert words[2:] == [target, f"ARGS={value}", "KERAS_INAT_PROGRAM=make", ""]
    assert not (clone / "ran").exists()


@pytest.mark.parametrize("name", ["PYTHON", "EXTRA"])
@pytest.mark.parametrize("value", HOSTILE)
def test_an_installation_runs_nothing_that_stands_in_a_variable(name, value, clone):
    (clone / "setup.cfg").touch()
    with pytest.raises(subprocess.CalledProcessError) as error:
        make("lint", f"{name}={value}", directory=clone)
    told = {"PYTHON": "error: Python 3.11, 3.12 or 3.13 is needed", "EXTRA": "error: EXTRA must be cpu or cuda"}
    assert told[name] in error.value.stderr
    assert not (clone / "ran").exists()


def test_args_are_divided_into_words_as_in_a_shell_and_nothing_is_run(capsys, workplace):
    assert main(["cost", "ARGS=data.image_size=32 'model.num_blocks=2'  model.filters=\"4\""]) == 0
    assert capsys.readouterr().out.startswith("2-block CNN, 32 px")
    assert main(["cost", "ARGS=model.filters=$(touch${IFS}ran)"]) == 2
    assert "Received: '$(touch${IFS}ran)'" in capsys.readouterr().err
    assert main(["cost", "ARGS='open"]) == 2
    assert capsys.readouterr().err.startswith("error: ARGS cannot be divided into words: No closing quotation.")
    assert not list(workplace.iterdir())


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (("sweep", "TRAILS=3", "NAME=x"), "make sweep takes DATA NAME TRIALS WORKERS CLUSTER CONFIG ARGS, not TRAILS."),
        (("predict", "RUNS=x", "IMAGE=y"), "make predict takes RUN IMAGE ARGS, not RUNS."),
        (("demo", "DATA=x"), "make demo takes ARGS, not DATA."),
        (("lint", "VENV=x: ; touch ran #"), "the environment is always .venv: remove VENV."),
    ],
)
def test_a_variable_that_the_target_does_not_take_is_refused(arguments, refused):
    with pytest.raises(subprocess.CalledProcessError) as error:
        make("-n", *arguments)
    assert refused in error.value.stderr


def test_several_targets_take_what_is_theirs():
    told = make("-n", "sweep", "train-best", "report", "DATA=x", "TRIALS=3", "SEEDS=2", "STRICT=1", "PYTHON=python3")
    assert [shlex.split(line.split(" -m keras_inat ")[1]) for line in told.splitlines() if "-m keras_inat" in line] == [
        ["sweep", "DATA=$DATA", "TRIALS=$TRIALS"],
        ["train-best", "DATA=$DATA", "SEEDS=$SEEDS"],
        ["report", "STRICT=$STRICT"],
    ]


def test_variables_of_the_environment_are_not_ours():
    assert "NAME=" not in make("-n", "sweep", NAME="my-laptop")
