import subprocess
import sys

import pytest

from keras_inat.__main__ import main
from keras_inat.commands import export
from keras_inat.export import packages
from keras_inat.settings.loading import load_config
from keras_inat.store.exports import ExportReport
from keras_inat.store.runs import create_run, finish_run


def test_formats_are_separated_by_commas():
    assert load_config().export.formats == ("onnx", "litert")
    assert load_config(["FORMAT=onnx, litert-int8,onnx"]).export.formats == ("onnx", "litert-int8")
    assert load_config(["export.formats=[savedmodel]"]).export.formats == ("savedmodel",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FORMAT=tfjs"], "the last converter of TensorFlow.js, 4.22, does not run with this TensorFlow. Use onnx"),
        (
            ["FORMAT=onxx"],
            "must be one of {litert, litert-int8, onnx, savedmodel}. Received: 'onxx'. Did you mean 'onnx'?",
        ),
        (["FORMAT=onnx,"], "must be one of"),
        (["export.formats=[]"], "`export.formats` must be"),
        (["FORMAT=savedmodel", "RUN=gone"], "RUN must be the folder of a finished run"),
        (["FORMAT=savedmodel"], "there is no finished run with a model in 'runs'"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    assert main(["export", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_missing_package_is_named_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda module: None if module == "tf2onnx" else module)
    assert main(["export", "FORMAT=onnx,litert"]) == 2
    assert capsys.readouterr().err == (
        "error: FORMAT=onnx,litert needs tf2onnx, which is not installed: pip install 'keras-inat[export]'\n"
    )


def test_a_mistake_imports_neither_numpy_nor_tensorflow():
    code = (
        "import sys\nfrom keras_inat.__main__ import main\n"
        "assert main(['export', 'FORMAT=savedmodel', 'RUN=gone']) == 2\n"
        "assert not {'numpy', 'tensorflow', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def test_the_newest_run_is_exported_unless_one_is_named(build_result, monkeypatch, capsys):
    exported = []
    report = ExportReport(
        model_hash="", created="", device="", keras_accuracy=0, keras_interval=(0, 1), keras_latency_ms={},
        num_images=0, rows=(),
    )  # fmt: skip

    def export_run(run, result, formats, license_):
        exported.append((run.path, formats, license_))
        return None, report

    monkeypatch.setattr(export, "export_run", export_run)
    runs = []
    for name in ("first", "second"):
        run = create_run(load_config([f"NAME={name}"]), "train-best")
        run.model.touch()
        finish_run(run, build_result())
        runs.append(run.path)
    assert export.run(load_config()) == report
    export.run(load_config([f"RUN={runs[0]}", "FORMAT=litert", "export.license=MIT"]))
    assert exported == [(runs[1], ("onnx", "litert"), None), (runs[0], ("litert",), "MIT")]
    assert f"model: {runs[0]}" in capsys.readouterr().out
