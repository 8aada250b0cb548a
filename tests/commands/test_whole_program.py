"""The whole program, as a user would run it, on tiny data."""

import csv
import json
import re
import zipfile
from pathlib import Path

import pytest

from keras_inat.__main__ import main
from keras_inat.store.ledger import read_ledger
from keras_inat.store.records import EvaluationScores, Result
from keras_inat.store.runs import list_runs

SMALL = [
    *("data.image_size=16", "model.num_blocks=2", "model.filters=4", "model.dense_units=8"),
    *("training.epochs=2", "training.batch_size=8", "tracking.wandb=disabled", "tracking.tensorboard=false"),
]


def run(*arguments):
    assert main(list(arguments)) == 0


def test_sweep_train_finetune_report_predict(photos, capsys):
    space = "{model.filters: [4, 8], model.dropout: [0.0, 0.2]}"
    (photos.parent / "tiny.yaml").write_text(f"sweep: {{space: {space}}}")
    data = f"DATA={photos}"
    run("sweep", data, "CONFIG=tiny.yaml", "NAME=first", "TRIALS=2", "sweep.epochs=1", *SMALL)
    run("train-best", "SEEDS=2", "tracking.wandb=disabled", "tracking.tensorboard=false")
    scratch = list_runs("runs")
    assert [folder.read_result().seed for folder in scratch] == [0, 1]
    with open("runs/sweep/first/trials.csv") as file:
        best = max(csv.DictReader(file), key=lambda row: float(row["score"]))
    config = scratch[0].read_result().config
    assert config.model.filters == int(best["model.filters"])
    assert config.training.epochs == 2

    run("finetune", data, "STRATEGY=topk", "UNFREEZE=1", f"WEIGHTS={scratch[0].model}", *SMALL)
    tuned = list_runs("runs")[-1]
    assert tuned.command == "finetune"
    assert tuned.path.name.endswith("-topk-first-seed0-seed0")
    evaluated = [entry.run for entry in read_ledger("runs").entries]
    assert sorted(evaluated) == sorted(f"{done.command}/{done.path.name}" for done in [*scratch, tuned])

    run("report")
    with open("reports/results.csv") as file:
        assert len(list(csv.DictReader(file))) == 3
    page = Path("reports/index.html").read_text()
    assert all(name in page for name in ("first", "blue", "topk"))

    capsys.readouterr()
    run("predict", f"IMAGE={photos / 'val' / 'red' / '0.png'}")
    model, classes, explanation = capsys.readouterr().out.splitlines()
    assert model == f"model: {tuned.path}"
    assert re.fullmatch(r"0\.png: (red|blue|green) \d+\.\d %(, (red|blue|green) \d+\.\d %){2}", classes)
    assert Path(explanation.removeprefix("explanation: ")).exists()


def test_data_unpacks_an_archive_and_lists_its_contents(photos, capsys):
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for file in sorted(photos.rglob("*")):
            archive.write(file, f"deep/photos/{file.relative_to(photos)}")
        archive.writestr("deep/photos/train/.DS_Store", "stray")
    run("data", "ZIP=photos.zip", "DATA=data/mine")
    assert "mine: 30 train and 12 test images" in capsys.readouterr().out
    assert sorted(path.name for path in Path("data/mine/train").iterdir()) == ["blue", "green", "red"]
    original = photos / "train" / "red" / "3.png"
    assert Path("data/mine/train/red/3.png").read_bytes() == original.read_bytes()
    run("data", "ZIP=photos.zip", "DATA=data/mine")  # all of it is there
    original.unlink()
    (Path("data/mine/train/red/3.png")).write_bytes(b"other")
    assert main(["data", "ZIP=photos.zip", "DATA=data/mine"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ZIP=photos.zip", "DATA=demo"], "DATA=demo is a drawn data set"),
        (["URL=http://localhost/a.zip", "DATA=demo-things"], "DATA=demo-things is a drawn data set"),
        (["ZIP=photos.zip", "URL=http://localhost/a.zip"], "give ZIP or URL, not both"),
    ],
)
def test_data_that_would_not_be_used_is_refused(workplace, capsys, arguments, words):
    Path("photos.zip").touch()
    assert main(["data", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in workplace.iterdir()] == ["photos.zip"]


def test_a_training_that_explodes_is_one_line(photos, capsys):
    explode = ["training.learning_rate=1e30", "training.optimizer=sgd", "data.image_size=16", "model.num_blocks=2"]
    assert main(["train-best", f"DATA={photos}", "CONFIG=c.yaml", *explode, "tracking.wandb=disabled"]) == 2
    Path("c.yaml").write_text("model: {filters: 4}")
    assert main(["train-best", f"DATA={photos}", "CONFIG=c.yaml", *explode, "tracking.wandb=disabled"]) == 1
    assert "the loss is not finite in epoch" in capsys.readouterr().err


def test_a_full_or_read_only_disk_is_one_line(photos, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr("keras_inat.files.write_atomically", full)
    assert main(["sweep", f"DATA={photos}", "sweep.space={model.filters: [4, 8]}", *SMALL]) == 1
    error = capsys.readouterr().err
    assert error == (
        "error: cannot use runs/x: No space left on device: free some space, then run the command again: finished work "
        "is kept\n"
    )


def test_results_are_plain_json(make_config):
    from keras_inat.training.evaluation import train_and_evaluate

    train_and_evaluate(make_config("training.epochs=1"), "train-best", "x")
    result = json.loads(list_runs("runs")[0].result.read_text())
    assert result.keys() == Result.model_fields.keys() | {"checksum"}
    assert result["test"].keys() == EvaluationScores.model_fields.keys()
    assert {"accuracy", "interval", "balanced_accuracy", "balanced_interval", "majority_baseline"} < set(result["test"])
    assert result["data"]["counts"] == {"train": 24, "validation": 6, "test": 12}
