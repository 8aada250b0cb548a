import errno
import json
import os
import shutil
import tempfile
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_inat.__main__ import main
from keras_inat.errors import FileError, UserError
from keras_inat.export import exports
from keras_inat.export.exports import export_run
from keras_inat.export.formats import FORMATS
from keras_inat.export.graph import build_export_model
from keras_inat.files import hash_file
from keras_inat.models.model_files import load_model
from keras_inat.store.exports import ExportContract, ExportReport, find_export
from keras_inat.store.predictions import ValidationSample
from keras_inat.store.runs import finish_run

for module in ("onnx", "onnxruntime", "tf2onnx", "ai_edge_litert"):
    pytest.importorskip(module, reason="the extra `export` is not installed")

MARKUP = ("<b>ant</b>", 'two\nlines"; --', "Großes Ü\u202e")


def list_names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def replace_format(monkeypatch, name, **changes):
    monkeypatch.setitem(FORMATS, name, replace(FORMATS[name], **changes))


def write_text(model, path, contract, calibration):
    """Writes a file in place of a conversion, which takes seconds."""
    path.write_text("graph")


def test_exports_agree_with_keras_and_carry_their_contract(add_run, capsys):
    import onnx
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    run, result = add_run(classes=MARKUP)
    sample = ValidationSample.read(run.sample)
    expected = build_export_model(load_model(run.model)).predict_on_batch(sample.pixels)
    contract, report = export_run(run, result, ["onnx", "litert"], "CC-BY-4.0")
    assert list_names(run.export) == ["contract.json", "export.json", "model.onnx", "model.tflite"]
    assert ExportContract.read(run.export_contract) == contract
    assert ExportReport.read(run.export_report) == report
    assert contract.model_hash == report.model_hash == hash_file(run.model)
    assert (contract.classes, contract.license, contract.temperature) == (MARKUP, "CC-BY-4.0", None)
    assert (contract.accuracy.value, contract.accuracy.images) == (0.5, "test")
    assert [row.format for row in report.rows] == ["onnx", "litert"]
    for row in report.rows:
        assert row.max_difference < 1e-5
        assert (row.agreement, row.gain, row.marked, row.num_images) == (1.0, 0.0, False, 9)
        assert row.accuracy == report.keras_accuracy
        assert row.bytes == (run.export / row.file).stat().st_size
        assert set(row.latency_ms) == {1, 64}
        assert find_export(run, row.format) == (run.export / row.file, contract)
    assert [row.runtime.split()[0] for row in report.rows] == ["onnxruntime", "ai-edge-litert"]

    without_files = contract.model_copy(update={"files": {}})
    graph = onnx.load(run.export / "model.onnx")
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(metadata["classes"]) == list(MARKUP)
    assert metadata["license"] == "CC-BY-4.0"
    assert ExportContract.model_validate_json(metadata["contract"]) == without_files
    assert graph.doc_string == contract.card
    with zipfile.ZipFile(run.export / "model.tflite") as archive:
        assert ExportContract.model_validate_json(archive.read("contract.json")) == without_files
        assert archive.read("labels.txt").decode() == f'{MARKUP[0]}\ntwo lines"; --\n{MARKUP[2]}\n'

    session = onnxruntime.InferenceSession(run.export / "model.onnx")
    [image] = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["batch", 16, 16, 3])
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes == {"probabilities": ["batch", 3], "class_activation_maps": ["batch", 4, 4, 3]}
    runner = Interpreter(str(run.export / "model.tflite")).get_signature_runner()
    for name, shape in shapes.items():
        for count in (1, 9):
            [given] = session.run([name], {"image": sample.pixels[:count]})
            np.testing.assert_allclose(given, expected[name][:count], atol=1e-5)
            np.testing.assert_allclose(runner(image=sample.pixels[:count])[name], expected[name][:count], atol=1e-5)
            assert given.shape == (count, *shape[1:])
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("onnx: the same classes as Keras, and probabilities within ")
    assert out[1].endswith(f"    {run.export / 'model.onnx'}")


def test_a_saved_model_is_a_folder(add_run):
    run, result = add_run()
    contract, report = export_run(run, result, ["savedmodel"])
    [row] = report.rows
    assert row.max_difference < 1e-6
    assert row.bytes == sum(path.stat().st_size for path in (run.export / "saved_model").rglob("*") if path.is_file())
    assert "saved_model/saved_model.pb" in contract.files
    inside = run.export / "saved_model" / "assets.extra" / "contract.json"
    assert ExportContract.model_validate_json(inside.read_bytes()) == contract.model_copy(update={"files": {}})
    assert find_export(run, "savedmodel") == (run.export / "saved_model", contract)
    again, _ = export_run(run, result, ["savedmodel"])
    assert list_names(run.export) == ["contract.json", "export.json", "saved_model"]
    assert again.model_hash == contract.model_hash


def test_integers_are_calibrated_and_marked_if_they_lose_more_than_a_point(add_run, monkeypatch, capsys):
    calibration = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    monkeypatch.setattr(exports, "read_calibration_images", lambda result: (calibration, "8 training images"))
    run, result = add_run()
    _, report = export_run(run, result, ["litert-int8"])
    [row] = report.rows
    assert (row.file, row.calibration) == ("model_int8.tflite", "8 training images")
    assert 1e-6 < row.max_difference < 0.2  # no error: integers do not agree to 1e-4
    assert not row.marked

    replace_format(
        monkeypatch, "litert-int8", write=write_text, open=lambda path: lambda images: np.eye(3)[[1] * len(images)]
    )
    pixels = ValidationSample.read(run.sample).pixels
    labels = load_model(run.model).predict(pixels, verbose=0).argmax(axis=1)
    labels[:2] = (0, 2)
    ValidationSample(pixels, labels).write(run.sample)
    result = finish_run(run, result)
    capsys.readouterr()
    _, report = export_run(run, result, ["litert-int8"])
    [row] = report.rows
    assert row.accuracy == (labels == 1).mean()
    assert row.gain == pytest.approx(row.accuracy - report.keras_accuracy)
    assert row.gain_interval[0] < row.gain < row.gain_interval[1]
    assert row.gain < -0.01
    assert row.marked
    assert "more than 1 point lost" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p + np.float32(2e-4) * np.array([1, -1, 0]), "a probability differs by 0.0002"),
        (lambda p: np.roll(p, 1, axis=1), "have another class"),
        (lambda p: p * np.nan, "a probability differs by 1 "),
    ],
)
def test_an_export_that_disagrees_is_an_error_and_leaves_no_file(add_run, monkeypatch, change, message):
    run, result = add_run()
    model = load_model(run.model)
    replace_format(
        monkeypatch,
        "onnx",
        write=write_text,
        open=lambda path: lambda images: change(model.predict_on_batch(images.astype(np.float32))),
    )
    with pytest.raises(UserError, match=message) as error:
        export_run(run, result, ["onnx"])
    assert "\n" not in str(error.value)
    assert list_names(run.export) == []
    assert find_export(run, "onnx") is None


def test_a_format_that_fails_does_not_undo_the_others(add_run, monkeypatch, capsys):
    run, result = add_run()
    model = load_model(run.model)
    replace_format(
        monkeypatch, "onnx", write=write_text, open=lambda path: lambda images: model.predict_on_batch(images * 1.0)
    )

    def fail(model, path, contract, calibration):
        path.write_text("half of it")
        raise RuntimeError("no such operation:\nErfc")

    replace_format(monkeypatch, "litert", write=fail)
    with pytest.raises(UserError, match="cannot be exported as litert: no such operation: Erfc: export another format"):
        export_run(run, result, ["onnx", "litert"])
    assert list_names(run.export) == ["contract.json", "export.json", "model.onnx"]
    assert find_export(run, "onnx")

    # Other formats are kept as long as the contract is the same.
    replace_format(
        monkeypatch, "litert", write=write_text, open=lambda path: lambda images: model.predict_on_batch(images * 1.0)
    )
    _, report = export_run(run, result, ["litert"])
    assert [row.format for row in report.rows] == ["onnx", "litert"]
    assert find_export(run, "onnx")
    assert find_export(run, "litert")
    (run.export / "model.onnx").unlink()
    export_run(run, result, ["litert"])
    assert f"{run.export}/model.onnx is missing or damaged and is removed" in capsys.readouterr().err
    _, report = export_run(run, result, ["litert"], "MIT")
    assert [row.format for row in report.rows] == ["litert"]
    assert list_names(run.export) == ["contract.json", "export.json", "model.tflite"]


def test_what_a_killed_process_left_is_removed(add_run, monkeypatch):
    run, result = add_run()
    (run.export / ".part-0123").mkdir(parents=True)
    (run.export / ".part-0123" / "saved_model.pb").write_text("half")
    (run.export / ".part-4567.onnx").write_text("half")
    model = load_model(run.model)
    replace_format(
        monkeypatch, "onnx", write=write_text, open=lambda path: lambda images: model.predict_on_batch(images * 1.0)
    )
    export_run(run, result, ["onnx"])
    assert list_names(run.export) == ["contract.json", "export.json", "model.onnx"]


def test_a_thousand_classes(add_run):
    names = tuple(f"class {number:04d}" for number in range(1000))
    run, result = add_run(classes=names)
    contract, report = export_run(run, result, ["onnx"])
    assert len(contract.classes) == 1000
    assert "class 0019 and 980 more" in contract.card
    assert report.rows[0].agreement == 1.0


def test_a_run_without_its_sample_is_refused(add_run):
    run, result = add_run()
    for damage in (lambda: run.sample.write_bytes(b"no arrays"), run.sample.unlink):
        damage()
        with pytest.raises(UserError, match="is missing or damaged, so that no export can be compared with Keras"):
            export_run(run, result, ["onnx"])
    other = ValidationSample(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, int))
    other.write(run.sample)  # of another size
    with pytest.raises(UserError, match="missing or damaged"):
        export_run(run, result, ["onnx"])


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [(errno.EROFS, UserError, "copy the run to a folder"), (errno.ENOSPC, FileError, "free some space")],
)
def test_a_run_that_cannot_be_written_is_refused_in_one_line(add_run, monkeypatch, code, kind, remedy):
    run, result = add_run()

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(kind, match=f"cannot write .*/export: {os.strerror(code)}: {remedy}"):
        export_run(run, result, ["onnx"])


@pytest.mark.parametrize("kind", [OSError, RuntimeError])  # RuntimeError: in place of TensorFlow's own errors
def test_a_full_disk_is_one_line_and_leaves_no_file(add_run, monkeypatch, capsys, kind):
    run, _ = add_run()

    def fill(model, path, contract, calibration):
        path.write_text("half of it")
        raise kind(28, "No space left on device")

    replace_format(monkeypatch, "onnx", write=fill)
    assert main(["export", f"RUN={run.path}", "FORMAT=onnx"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: cannot write {run.export / 'model.onnx'}: No space left on device: free some space")
    assert err.count("\n") == 1
    assert list_names(run.export) == []


def test_a_hostile_model_is_refused_in_one_line(add_run, capsys):
    run, result = add_run()
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Lambda(lambda pixels: pixels / 255, output_shape=(16, 16, 3))(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)).save(run.model)
    finish_run(run, result)
    assert main(["export", f"RUN={run.path}", "FORMAT=onnx"]) == 2
    err = capsys.readouterr().err
    assert f"error: {run.model} cannot be loaded: " in err
    assert err.endswith("it contains keras.layers.Lambda, which networks for images are not built of here\n")
    assert err.count("\n") == 1
    assert list_names(run.export) == []


def test_a_model_of_another_size_is_refused(add_run, small, capsys):
    run, result = add_run()
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(run.model)
    finish_run(run, result)
    assert main(["export", f"RUN={run.path}", "FORMAT=onnx"]) == 2
    assert "is not the model that result.json describes" in capsys.readouterr().err


def test_two_exports_at_a_time_are_refused(add_run):
    from keras_inat.files import hold_lock

    run, result = add_run()
    run.export.mkdir()
    with hold_lock(run.export / ".lock"), pytest.raises(UserError, match="is being written by another process"):
        export_run(run, result, ["onnx"])


def test_a_copied_run_has_the_same_exports(add_run, monkeypatch):
    run, result = add_run()
    model = load_model(run.model)
    replace_format(
        monkeypatch, "onnx", write=write_text, open=lambda path: lambda images: model.predict_on_batch(images * 1.0)
    )
    export_run(run, result, ["onnx"])
    shutil.copytree(run.path, "copy")
    assert find_export(replace(run, path=run.path.parent.parent.parent / "copy"), "onnx")
