import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_inat
from keras_inat.__main__ import main
from keras_inat.commands import suspects
from keras_inat.data.dataset import open_data
from keras_inat.models.cnn import build_cnn
from keras_inat.store.predictions import SuspectPictures
from keras_inat.store.runs import create_run
from keras_inat.store.suspects import Suspects, list_suspects
from keras_inat.training import label_suspects


@pytest.fixture
def planted(photos):
    """Moves two images to a wrong class, and returns their paths. The first file is no image."""
    (photos / "train" / "blue" / "+.png").write_bytes(b"no image")
    (photos / "train" / "red" / "3.png").rename(photos / "train" / "blue" / "was-red.png")
    (photos / "train" / "green" / "5.png").rename(photos / "train" / "red" / "was-green.png")
    return {"train/blue/was-red.png": ("blue", "red"), "train/red/was-green.png": ("red", "green")}


@pytest.fixture
def color_features(monkeypatch):
    """Replaces the features of a backbone by the mean color of each image."""
    monkeypatch.setattr(label_suspects, "build_model", lambda config, num_classes: None)
    monkeypatch.setattr(
        label_suspects, "load_features", lambda model, data: np.asarray(data.images).mean(axis=(1, 2))[None]
    )


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_planted_labels_are_found_and_can_be_excluded(make_config, planted, color_features, capsys):
    found = suspects.run(make_config("BACKBONE=MobileNetV2", "NAME=check"))
    assert found.table.parent.name.endswith("-check")
    rows = read_table(found.table)
    assert list(rows[0]) == ["file", "label", "suggested", "probability_of_label", "probability_of_suggested", "rank"]
    assert {row["file"]: (row["label"], row["suggested"]) for row in rows} == planted
    assert [row["rank"] for row in rows] == ["1", "2"]
    for row in rows:
        assert 0 <= float(row["probability_of_label"]) < 0.3 < float(row["probability_of_suggested"]) <= 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"2 label suspects of 30 images: {found.table}    next: ")
    assert line.endswith(f"train with data.exclude={found.table}")

    outcome = Suspects.read(found.folder.suspects)
    assert outcome == found.outcome
    assert (outcome.num_images, outcome.num_folds, outcome.accuracy) == (30, 5, 28 / 30)
    assert outcome.network == "linear heads on the features of MobileNetV2"
    data = open_data(make_config())
    chosen = [data.paths.index(suspect.file) for suspect in outcome.suspects]
    np.testing.assert_array_equal(SuspectPictures.read(found.folder.suspect_pictures).pixels, data.images[chosen])

    config = make_config(f"data.exclude={found.table}", "BACKBONE=MobileNetV2", "NAME=check")
    without = open_data(config)
    used = {without.paths[row] for row in [*without.training_rows, *without.validation_rows]}
    assert len(used) == 28
    assert not used & set(planted)
    assert without.hash != outcome.data.hash
    again = suspects.run(config)
    assert read_table(again.table) == []
    assert len(SuspectPictures.read(again.folder.suspect_pictures).pixels) == 0
    assert "0 label suspects of 28 images" in capsys.readouterr().out
    assert [len(run.outcome.suspects) for run in list_suspects("runs")] == [2, 0]


def test_a_list_that_lost_its_record_and_its_table_is_named_and_kept(make_config, planted, color_features, capsys):
    folder = suspects.run(make_config("BACKBONE=MobileNetV2", "NAME=check")).folder
    moved = folder.path.rename("runs/suspects/moved")
    list_suspects("runs")
    assert f"runs/suspects/moved/suspects.json was written in the folder {folder.path.name}" in capsys.readouterr().err
    moved.rename(folder.path)
    folder.suspect_table.unlink()
    list_suspects("runs")
    assert capsys.readouterr().err == f"warning: {folder.suspect_table} is missing\n"
    folder.suspects.unlink()
    suspects.run(make_config("BACKBONE=MobileNetV2", "NAME=again"))
    assert folder.suspect_pictures.exists()
    capsys.readouterr()
    assert len(list_suspects("runs")) == 1
    assert capsys.readouterr().err == f"warning: {folder.suspects} is missing, and its run is skipped\n"


def test_a_run_of_another_command_is_named_and_kept(make_config, planted, color_features, capsys):
    run = create_run(make_config(), "train-best", "x")
    run.write_epochs([])
    moved = Path("runs/suspects") / run.path.name
    moved.parent.mkdir()
    run.path.rename(moved)
    suspects.run(make_config("BACKBONE=MobileNetV2"))
    assert (moved / "metrics.jsonl").exists()
    capsys.readouterr()
    assert len(list_suspects("runs")) == 1
    assert capsys.readouterr().err == f"warning: {moved} is the run of another command, and is skipped\n"


def test_the_test_images_are_not_read(make_config, planted, color_features, photos):
    first = suspects.run(make_config("BACKBONE=MobileNetV2")).outcome.suspects
    for path in (photos / "val").glob("*/*.png"):
        Image.effect_noise((24, 28), 90).convert("RGB").save(path)
    assert suspects.run(make_config("BACKBONE=MobileNetV2")).outcome.suspects == first
    assert not Path("runs/test_ledger.jsonl").exists()


def test_random_weights_train_the_cnn(make_config, monkeypatch, capsys):
    given = []

    def predict(config, data, run):
        given.append(config)
        rows = np.arange(len(data.labels))
        return label_suspects.OutOfFold(rows, np.eye(3)[data.labels], 5)

    monkeypatch.setattr(suspects, "predict_out_of_fold", predict)
    found = suspects.run(make_config("WEIGHTS=none"))
    assert given[0].finetune is None
    assert found.outcome.network == "CNNs trained from scratch"
    assert found.folder.path.name.endswith("-CNN")
    assert "the CNN of `model` is trained on each fold" in capsys.readouterr().err


def test_a_real_backbone_from_the_command_line_and_from_python(make_config, planted, photos, capsys):
    weights = Path("other/best.keras")
    weights.parent.mkdir()
    build_cnn(make_config().model, 16, 3).save(weights)
    words = ["data.image_size=16", "augment.flip=true"]
    assert main(["suspects", f"DATA={photos}", f"WEIGHTS={weights}", "NAME=a", *words]) == 0
    out = capsys.readouterr().out
    assert "running the frozen backbone once: 31/31 images" in out
    assert "predicting held-out images: 30/30 images" in out
    run = keras_inat.suspects(photos, weights=weights, name="b", settings={"data.image_size": 16, "suspects.folds": 4})
    assert "running the frozen backbone" not in capsys.readouterr().out  # its features are cached
    assert run.outcome.num_folds == 4
    assert run.table.exists()
    assert repr(run) == f"<{len(run.outcome.suspects)} label suspects of 30 images: {run.table}>"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["DATA=photos", "WEIGHTS=gone.h5"], "`finetune.weights` 'gone.h5' does not exist"),
        (["DATA=photos", "data.exclude=gone.csv"], "Received: 'gone.csv', which does not exist"),
        (["DATA=photos", "suspects.folds=1"], "`suspects.folds` must be greater than or equal to 2"),
    ],
)
def test_mistakes_are_one_line(photos, words, message, capsys):
    assert main(["suspects", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""  # the images were not decoded
    assert message in err
    assert err.count("\n") == 1
