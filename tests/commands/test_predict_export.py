"""The command `predict` with an exported model: no TensorFlow, the same probabilities, and streams that end early."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_inat.commands import predict
from keras_inat.data.decode import decode_image
from keras_inat.errors import UserError
from keras_inat.settings.loading import load_config
from keras_inat.store.calibration import scale_probabilities

CLASSES = ("Aves", "Fungi", "Plantae")


@pytest.fixture
def compute(workplace, write_exported_run):
    """Writes a run with an export to the working folder, and photographs. Returns the model as a function."""
    for seed in range(5):
        _write_image(workplace / f"photos/{seed}.png", seed)
    return write_exported_run(workplace / "runs/train-best/20260101-000000-tiny", CLASSES, temperature=1.5)


def _write_image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)


def _run(*arguments):
    predict.run(load_config(list(arguments)))


def _start(*arguments, **options):
    # A shell lets the commands that it runs in the background ignore interruptions.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "keras_inat", "predict", *arguments], stderr=subprocess.PIPE, text=True, **options
        )
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_export_predicts_what_the_graph_says(compute, workplace, capsys):
    _run("IMAGE=photos", "predict.format=json")
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == [f"{seed}.png" for seed in range(5)]
    pixels = np.stack([decode_image((workplace / f"photos/{seed}.png").read_bytes(), 16) for seed in range(5)])
    expected = scale_probabilities(compute(pixels)[0], 1.5)
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in rows], expected, atol=2e-6)
    assert err.splitlines() == [
        "model: runs/train-best/20260101-000000-tiny",
        "explanations of 5 of 5 images: runs/train-best/20260101-000000-tiny/predictions",
    ]
    with Image.open(rows[0]["explanation"]) as picture:
        assert picture.width > 1000


def test_neither_tensorflow_nor_matplotlib_is_imported(compute):
    code = "import sys; from keras_inat.__main__ import main; code = main(sys.argv[1:]); "
    code += "print({'tensorflow', 'keras', 'matplotlib', 'scipy', 'onnxruntime'} & {*sys.modules}); sys.exit(code)"
    words = ["predict", "IMAGE=photos/0.png"]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "{'onnxruntime'}"
    assert "explanation: runs/train-best/20260101-000000-tiny/predictions/0.png" in ended.stdout
    assert ended.stderr == ""


def test_keras_can_be_chosen(compute, monkeypatch):
    """It is asked for the model, which this run does not have."""
    with pytest.raises(UserError, match=r"best\.keras cannot be loaded"):
        _run("IMAGE=photos", "predict.runtime=keras")


def test_damaged_images_are_one_line_each(compute, workplace, capsys):
    whole = (workplace / "photos/0.png").read_bytes()
    (workplace / "photos/1.png").write_bytes(whole[:200])
    (workplace / "photos/2.png").write_bytes(b"")
    (workplace / "photos/3.png").unlink()
    (workplace / "photos/3.png").symlink_to("3.png")
    _run("IMAGE=photos", "predict.explain=false")
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()[1:]] == ["0.png", "4.png"]
    assert err.splitlines() == ["warning: skipped 1.png: it is cut short", "warning: skipped 2.png: it is empty"]


def test_a_file_that_cannot_be_read_is_skipped(compute, workplace, capsys):
    (workplace / "photos/1.png").unlink()
    (workplace / "photos/1.png").symlink_to("/proc/self/mem")  # Linux answers as for a broken disk
    _run("IMAGE=photos", "predict.explain=false")
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert err == "warning: skipped 1.png: it cannot be read (Input/output error)\n"


def test_a_thousand_classes(workplace, write_exported_run, capsys):
    classes = tuple(f"class {number:04} <b>&amp;,\"'" for number in range(1000))
    write_exported_run(workplace / "runs/train-best/20260101-000000-tiny", classes)
    _write_image(workplace / "a.png", 0)
    _run("IMAGE=a.png", "predict.format=json")
    assert tuple(json.loads(capsys.readouterr().out)["probabilities"]) == classes
    _run("IMAGE=a.png", "predict.format=csv", "predict.top=1000")
    head, row = capsys.readouterr().out.splitlines()
    assert head.endswith("class_1000,probability_1000")
    assert row.count('<b>&amp;,""') == 1000


@pytest.fixture
def many(compute, workplace):
    """Adds a folder of 2,000 images, which are more than a pipe holds lines of."""
    (workplace / "many").mkdir()
    for number in range(2000):
        os.link(workplace / "photos/0.png", workplace / f"many/{number:04}{'x' * 100}.png")


def test_an_interruption_ends_the_command_in_the_middle(many):
    with _start("IMAGE=many", "predict.explain=false", stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        errors = process.stderr.read()
    assert lines[1].startswith("0000xxx")
    assert len(rest.splitlines()) < 1997
    assert errors.startswith("interrupted: ")
    assert len(errors.splitlines()) == 1
    assert process.returncode == 130


def test_a_reader_that_has_enough_ends_the_command_silently(many):
    with _start("IMAGE=many", "predict.explain=false", stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == predict.CLOSED_PIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line(compute):
    with open("/dev/full", "w") as full, _start("IMAGE=photos", "predict.explain=false", stdout=full) as process:
        [line] = process.stderr.read().splitlines()
    assert line.startswith("error: No space left on device: free some space")
    assert process.returncode == 1
