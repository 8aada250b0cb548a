import pytest
from export_records import build_row, write_records

from keras_inat.settings.schema import Config
from keras_inat.store.exports import ExportContract, ExportReport, PreparationStep, find_export, read_exports
from keras_inat.store.runs import create_run, restart_run


@pytest.fixture
def exported():
    """Returns a run with a file that stands for an ONNX model, and with a folder that stands for a SavedModel."""
    run = create_run(Config(), "train-best", "a")
    run.model.write_bytes(b"model")
    (run.export / "saved_model" / "variables").mkdir(parents=True)
    (run.export / "saved_model" / "variables" / "a").write_bytes(b"weights")
    (run.export / "model.onnx").write_bytes(b"graph")
    step = PreparationStep(step="resize", text="Resize it.", values={"size": 16})
    rows = [build_row("onnx", "model.onnx"), build_row("savedmodel", "saved_model")]
    write_records(run, rows, {}, name="train", classes=("ant", "<b>bee</b>"), steps=(step,))
    return run


def test_records_are_read_as_they_were_written(exported):
    contract = ExportContract.read(exported.export_contract)
    assert contract.classes == ("ant", "<b>bee</b>")
    assert contract.temperature is None
    assert sorted(contract.files) == ["model.onnx", "saved_model/variables/a"]
    report = ExportReport.read(exported.export_report)
    assert report.find("onnx").latency_ms == {1: 1.5, 64: 60.0}
    assert report.find("litert") is None


@pytest.mark.parametrize(("name", "file"), [("onnx", "model.onnx"), ("savedmodel", "saved_model")])
def test_an_export_is_found_as_long_as_it_fits_the_model(exported, name, file):
    path, contract = find_export(exported, name)
    assert path == exported.export / file
    assert contract.name == "train"
    assert find_export(exported, "litert") is None
    exported.model.write_bytes(b"another model")
    assert find_export(exported, name) is None


@pytest.mark.parametrize("damaged", ["model.onnx", "contract.json", "export.json"])
def test_a_damaged_export_is_not_found(exported, damaged):
    (exported.export / damaged).write_bytes(b"{")
    assert find_export(exported, "onnx") is None


@pytest.mark.parametrize("missing", ["model.onnx", "contract.json", "export.json", "../best.keras"])
def test_an_export_without_one_of_its_files_is_not_found(exported, missing):
    (exported.export / missing).unlink()
    assert find_export(exported, "onnx") is None


def test_a_changed_file_of_a_folder_is_noticed(exported):
    (exported.export / "saved_model" / "more").write_bytes(b"")
    assert find_export(exported, "savedmodel") is None
    assert find_export(exported, "onnx")


def test_a_run_that_begins_again_has_no_export(exported):
    restart_run(Config(), exported.path, "train-best")
    assert not exported.export.exists()


def test_an_older_record_without_one_of_the_exports_is_named(exported, capsys):
    report = ExportReport.read(exported.export_report)
    report.model_copy(update={"rows": report.rows[:-1]}).write(exported.export_report)
    assert read_exports(exported)
    lost = report.rows[-1].file
    assert f"{exported.export_report} does not have {lost}, and is older than" in capsys.readouterr().err
