"""The steps of the demo, on tiny photographs."""

from pathlib import Path

from sweep_records import write_sweep

from keras_inat.commands import demo
from keras_inat.errors import UserError
from keras_inat.export.packages import list_missing
from keras_inat.store.exports import find_export
from keras_inat.store.ledger import read_ledger
from keras_inat.store.runs import RunFolder, list_runs
from keras_inat.store.sweeps import SweepFolder


def test_finished_steps_are_skipped(make_config, write_photos, workplace, monkeypatch, capsys):
    things = write_photos(workplace / "things")
    reported = []
    searched = []
    monkeypatch.setattr(demo, "PRETRAINING", demo.PRETRAINING | {"data.source": str(things), "training.epochs": 1})
    monkeypatch.setattr(demo, "FINETUNING", demo.FINETUNING | {"training.epochs": 2})
    monkeypatch.setattr(demo.app, "read_runtime", lambda place: ("a script", b"a module"))
    monkeypatch.setattr(demo.report, "run", reported.append)
    monkeypatch.setattr(demo.sweep, "run", searched.append)
    config = make_config("run.name=demo", "model.num_blocks=3", "training.epochs=1")
    write_sweep(SweepFolder(Path("runs/sweep/demo")), {"model.filters": 8}, config)
    demo.run(config)
    runs = list_runs("runs")
    names = ["demo", *(f"demo-{strategy}" for strategy in ("head", "topk", "full"))]
    results = [run.read_result() for run in runs]
    assert [result.name for result in results] == names
    assert [result.config.model.filters for result in results] == [8] * 4
    [backbone] = (workplace / "runs" / "pretrain").iterdir()
    assert RunFolder(backbone, "pretrain").read_result().data.name == "things"
    weights = [result.config.finetune.weights for result in results[1:]]
    assert weights == [f"runs/pretrain/{backbone.name}/best.keras"] * 3
    # The pretrained backbone is not evaluated on test images.
    assert [entry.run for entry in read_ledger("runs", runs).entries] == [
        f"{run.command}/{run.path.name}" for run in runs
    ]
    assert len(searched) == len(reported) == 1
    exported = find_export(runs[0], "onnx")
    assert (exported is None) == bool(list_missing(["onnx"]))

    capsys.readouterr()
    demo.run(config)
    assert capsys.readouterr().out.count("already done") == (7 if exported else 5)
    assert list_runs("runs") == runs
    assert len(searched) == len(reported) == 2


def test_missing_packages_for_the_export_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(demo, "list_missing", lambda formats: ["onnx", "tf2onnx"])
    demo._export(RunFolder(Path("run"), "train-best"))
    out = capsys.readouterr().out
    assert out.startswith("no export: pip install 'keras-inat[export]' installs onnx, tf2onnx, then `")
    assert out.count("\n") == 1


def test_an_app_that_cannot_be_made_is_one_line(monkeypatch, capsys):
    def fail(run, result, config):
        raise UserError("npm cannot fetch it")

    monkeypatch.setattr(demo, "find_export", lambda run, name: (run.path, None))
    monkeypatch.setattr(demo.Result, "read", lambda path: None)
    monkeypatch.setattr(demo.app, "write_app", fail)
    demo._make_app(RunFolder(Path("run"), "train-best"), None)
    assert capsys.readouterr().out == "no app: npm cannot fetch it\n"
