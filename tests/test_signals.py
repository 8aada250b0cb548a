"""Ctrl-C and SIGTERM at seeded moments of the imports, and the end of make."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from keras_inat.signals import describe_end

# The handlers stand when it writes to stdout. Then TensorFlow is imported.
PROGRAM = """
import sys
from keras_inat import signals
signals.handle_signals()
sys.argv = ["keras_inat", "backbones"]
print("begun", flush=True)
from keras_inat.__main__ import enter
enter()
"""
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def start(*command, **environment):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Without the variables of an outer make, which would make another one name its folder.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.Popen(command, env=outer | environment, start_new_session=True, **pipes)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_during_imports_is_one_line(number, list_seeds):
    for seed in list_seeds(2):
        process = start(sys.executable, "-c", PROGRAM)
        assert process.stdout.readline() == "begun\n"
        time.sleep(random.Random(seed).uniform(0, 2))
        os.killpg(process.pid, number)
        _, told = process.communicate()
        end = ENDS[number]
        assert (process.returncode, told) in [(end, f"{describe_end(end)}\n"), (0, "")], seed


@pytest.mark.parametrize("number", ENDS)
def test_the_last_line_of_make_is_ours(number, tmp_path):
    # As in the recipes: the shell is replaced by the program, which knows the process of make.
    (tmp_path / "program.py").write_text(PROGRAM)
    recipe = f"exec env KERAS_INAT_MAKE=$$PPID {sys.executable} program.py"
    (tmp_path / "Makefile").write_text(f"run:\n\t@{recipe}\n")
    process = start("make", PYTHONPATH=os.pathsep.join(sys.path))
    assert process.stdout.readline() == "begun\n"
    os.killpg(process.pid, number)
    assert process.communicate()[1] == f"{describe_end(ENDS[number])}\n"
    assert process.returncode == -number


def test_a_signal_that_is_ignored_stays_ignored():
    # As below `nohup`, or in the background of a script.
    program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN){PROGRAM}"
    process = start(sys.executable, "-c", program)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1] == f"{describe_end(143)}\n"
