"""The test images are opened once for a run, whatever interrupts its evaluation."""

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_inat.store.ledger import read_ledger
from keras_inat.store.runs import list_runs
from keras_inat.training import evaluation
from keras_inat.training.evaluation import train_and_evaluate

SETTINGS = ("training.epochs=1", "training.test_time_augmentation=true", "run.deterministic=true")


class Killed(BaseException):
    """An error that `except Exception` does not catch, like the end of a process."""


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("step", "error"), [("ValidationSample", Killed()), ("fit_temperature", FULL), ("finish_run", Killed())]
)
def test_an_interrupted_evaluation_continues_from_its_predictions(make_config, monkeypatch, step, error):
    def fail(*arguments, **keywords):
        raise error

    config = make_config(*SETTINGS)
    undisturbed = train_and_evaluate(make_config(*SETTINGS, "run.name=other"), "train-best", "x")
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, step, fail)
        with pytest.raises(type(error)):
            train_and_evaluate(config, "train-best", "x")
    run = train_and_evaluate(config, "train-best", "x")
    ledger = read_ledger("runs", list_runs("runs"))
    assert [entry.run for entry in ledger.entries] == [f"train-best/{each.path.name}" for each in (undisturbed, run)]
    assert ledger.faults == []
    results = [each.read_result() for each in (undisturbed, run)]
    assert results[0].test == results[1].test
    assert results[0].test.flip is not None
    assert results[0].temperature == results[1].temperature
    arrays = [dict(np.load(each.predictions)) for each in (undisturbed, run)]
    for name, array in arrays[0].items():
        np.testing.assert_array_equal(array, arrays[1][name])


def test_predictions_of_other_weights_are_not_taken(make_config, monkeypatch, capsys):
    def fail(*arguments, **keywords):
        raise Killed

    config = make_config("training.epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "finish_run", fail)
        with pytest.raises(Killed):
            train_and_evaluate(config, "train-best", "x")
    [folder] = Path("runs/train-best").iterdir()
    with np.load(folder / "test_predictions.npz") as arrays:
        np.savez(folder / "test_predictions.npz", **{**arrays, "origin": np.array("others")})
    run = train_and_evaluate(config, "train-best", "x")
    assert len(read_ledger("runs", [run]).entries) == 2  # both evaluations are recorded
    assert (
        "test_predictions.npz is missing, damaged or of other weights: the test images are evaluated again"
        in capsys.readouterr().err
    )


def test_predictions_without_test_time_augmentation_are_not_taken_for_those_with(make_config, monkeypatch):
    def fail(*arguments, **keywords):
        raise Killed

    plain = train_and_evaluate(make_config(*SETTINGS, "training.test_time_augmentation=false"), "train-best", "x")
    config = make_config(*SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "finish_run", fail)
        with pytest.raises(Killed):
            train_and_evaluate(config, "train-best", "x")
    [folder] = [path for path in Path("runs/train-best").iterdir() if path != plain.path]
    (folder / "test_predictions.npz").write_bytes(plain.predictions.read_bytes())
    run = train_and_evaluate(config, "train-best", "x")
    assert run.path == folder
    assert run.read_result().test.flip is not None
    assert len(read_ledger("runs", list_runs("runs")).entries) == 3


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_damaged_pictures_of_duplicates_are_named_when_an_evaluation_continues(
    make_config, photos, monkeypatch, capsys, damage
):
    def fail(*arguments, **keywords):
        raise Killed

    with Image.open(photos / "train/red/1.png") as image:
        image.resize((2 * image.width, 2 * image.height)).save(photos / "val/red/copy.png")
    config = make_config(*SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "finish_run", fail)
        with pytest.raises(Killed):
            train_and_evaluate(config, "train-best", "x")
    [pictures] = Path("runs/train-best").glob("*/duplicates.npz")
    damage(pictures)
    run = train_and_evaluate(config, "train-best", "x")
    assert f"{pictures} is missing, is damaged or was changed by hand, and is skipped" in capsys.readouterr().err
    assert "duplicates.npz" not in run.read_result().files
    assert not pictures.exists()
    assert len(read_ledger("runs", [run]).entries) == 1


def test_a_full_disk_is_noticed_before_the_test_images_are_opened(make_config, monkeypatch):
    monkeypatch.setattr(evaluation, "MIN_FREE_BYTES", 10**18)
    with pytest.raises(Exception, match="free some space, then run the command again: the training is kept"):
        train_and_evaluate(make_config("training.epochs=1"), "train-best", "x")
    assert read_ledger("runs").entries == []
