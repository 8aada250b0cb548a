"""The command app."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from keras_inat.__main__ import main
from keras_inat.commands import app
from keras_inat.commands.catalog import COMMANDS
from keras_inat.export.app import runtime
from keras_inat.store.runs import list_runs
from keras_inat.training.evaluation import train_and_evaluate


@pytest.fixture
def run(make_config, monkeypatch):
    """A run whose head has class-activation maps. The runtime is not needed to write an app."""
    pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")
    monkeypatch.setattr(app, "read_runtime", lambda place: ("a script", b"a module"))
    monkeypatch.setattr(runtime, "check_runtime", lambda place: None)
    train_and_evaluate(make_config("training.epochs=1", "model.pooling=average"), "train-best", "x")
    return list_runs("runs")[0]


def test_the_app_and_the_space_are_written(run, capsys):
    assert main(["app", "report.author=Ada Lovelace"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [f"app: {run.path}/app/index.html", f"Hugging Face Space: {run.path}/app/space"]
    script = (run.app / "model.js").read_text()
    values = json.loads(script.removeprefix("globalThis.MODEL = ").removesuffix(";\n"))
    assert values["contract"]["classes"] == ["blue", "green", "red"]
    assert values["limits"] == {"min_side": 8, "max_aspect": 10, "max_pixels": 2**27}
    version = (run.app / "index.html").read_text().partition("app.js?v=")[2][:16]
    worker = (run.app / "sw.js").read_text()
    for file in ("runtime.js", "model.js", "prepare.js", "maps.js", "app.js", "app.css", "icon.svg"):
        assert (run.app / file).exists()
        assert f'"{file}?v={version}"' in worker
        assert f'"{file}?v={version}"' in (run.app / "index.html").read_text()
    card = (run.app / "space" / "README.md").read_text()
    assert "Test accuracy: " in card
    assert "| author | Ada Lovelace |" in card
    assert str(Path.cwd()) not in card
    assert "runs/" not in card
    # The second time, the model is not exported again.
    written = run.export_report.stat().st_mtime_ns
    assert main(["app", f"RUN={run.path}", "app.directory=elsewhere"]) == 0
    assert run.export_report.stat().st_mtime_ns == written
    assert Path("elsewhere/index.html").read_text() == (run.app / "index.html").read_text()
    capsys.readouterr()
    Path("elsewhere/index.html").write_text("somebody's page")
    assert main(["app", "app.directory=elsewhere"]) == 2
    assert "elsewhere/index.html is not from this program and would be replaced" in capsys.readouterr().err
    assert Path("elsewhere/index.html").read_text() == "somebody's page"


@pytest.fixture
def interruptible():
    """A shell ignores interruptions of the commands that it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_serve_prints_the_address_until_it_is_interrupted(workplace, capsys):
    Path("index.html").write_text("the page")
    found = []

    def visit():
        while not found:
            time.sleep(0.05)
            text = capsys.readouterr().out
            if "serving " in text:
                address = text.partition("serving ")[2].split()[0]
                with urllib.request.urlopen(address) as answer:
                    found.append((address, answer.read().decode()))
        os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    visitor.start()
    app._serve(workplace, 0)  # the interruption ends it without an error
    visitor.join()
    [(address, page)] = found
    assert address.startswith("http://127.0.0.1:")
    assert page == "the page"


def test_serve_is_a_flag(monkeypatch, capsys):
    given = []
    monkeypatch.setattr("keras_inat.commands.dispatch.run_command", lambda name, words: given.append((name, words)))
    assert main(["app", "--serve", "RUN=x"]) == 0
    assert given == [("app", ("RUN=x", "app.serve=true"))]
    assert main(["predict", "--serve"]) == 2
    assert "No such option" in capsys.readouterr().err
    assert [name for name, command in COMMANDS.items() if command.flags] == ["app"]


def test_a_mistake_is_one_line_and_imports_neither_numpy_nor_tensorflow():
    check = (
        "import sys; from keras_inat.__main__ import main; code = main(sys.argv[1:]); "
        "assert not {'numpy', 'tensorflow'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", check, "app", "RUN=nowhere"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: RUN must be the folder of a finished run")
    assert done.stderr.count("\n") == 1
