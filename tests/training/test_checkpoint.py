import os
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inat.data.packs import load_pack
from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import override
from keras_inat.store.runs import RunFolder, create_run, finish_run
from keras_inat.training import checkpoint, epochs
from keras_inat.training.checkpoint import claim_run, read_progress, restore_variables
from keras_inat.training.evaluation import train_and_evaluate
from keras_inat.training.session import fit

# Everything with a state: moments, average, random numbers of dropout, augmentation, image sizes, a schedule.
RICH = (
    *("training.epochs=4", "training.optimizer=muon", "training.learning_rate=0.01", "training.weight_decay=0.05"),
    *("training.schedule=cosine", "training.warmup=0.2", "training.ema=0.9", "training.image_scales=[0.75,1]"),
    *("model.pooling=average", "model.dropout=0.3"),
    *("augment.flip=true", "augment.crop=0.5", "augment.cutmix=1.0"),
)


class Killed(BaseException):
    """An error that `except Exception` does not catch, like the end of a process."""


def kill_at(monkeypatch, name, call, after):
    """Kills the run at the given call of a function, before or after its work."""
    place = epochs if hasattr(epochs, name) else RunFolder
    work, calls = getattr(place, name), []

    def dying(*arguments, **keywords):
        calls.append(name)
        if len(calls) == call and not after:
            raise Killed
        result = work(*arguments, **keywords)
        if len(calls) == call and after:
            raise Killed
        return result

    monkeypatch.setattr(place, name, dying)


def train(config, command="train-best"):
    with claim_run(config, command, load_pack(config).manifest.hash) as run:
        return run, fit(config, run)


def die(config, monkeypatch, name, call, after=True):
    with monkeypatch.context() as patch:
        kill_at(patch, name, call, after)
        with pytest.raises(Killed):
            train(config)


def list_metrics(run):
    """Returns the rows of `metrics.jsonl` without the timings."""
    timings = {"seconds", "images_per_second"}
    return [epoch.model_dump(exclude=timings) for epoch in run.read_epochs()]


def check_same(config, monkeypatch, *kills):
    """Checks that a run that is killed several times ends with the same bits as an uninterrupted one."""
    reference, expected = train(override(config, {"run.name": "reference"}))
    for kill in kills:
        die(config, monkeypatch, *kill)
    run, received = train(config)
    assert len(list(run.path.parent.iterdir())) == 2  # it resumed in its own folder
    kept = keras.models.load_model(run.model, compile=False).get_weights()
    for first, second, third in zip(expected.model.get_weights(), received.model.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)
    rows = [list_metrics(reference), list_metrics(run)]
    assert rows[0] == rows[1]
    scores = ("objective", "val_accuracy", "val_balanced_accuracy")
    for name in (*scores, "best_epoch", "epochs", "planned_epochs", "stages"):
        assert getattr(expected.result, name) == getattr(received.result, name)
    return rows[0]


def test_a_killed_run_ends_like_an_uninterrupted_one(make_config, monkeypatch):
    check_same(
        make_config(*RICH),
        monkeypatch,
        ("append_epoch", 1),  # before there is a checkpoint
        ("write_checkpoint", 1),  # only the checkpoint has the best weights
        ("append_epoch", 2),  # the epoch is written, its checkpoint is not
        ("write_checkpoint", 2),  # after the last epoch
    )


def test_a_killed_run_continues_to_sample_and_to_select_by_class(make_config, photos, monkeypatch):
    for index in range(2, 10):
        (photos / "train" / "red" / f"{index}.png").unlink()
    settings = ("training.sampling=balanced", "training.epochs=3", "augment.crop=0.5", "training.ema=0.3")
    rows = check_same(make_config(*settings), monkeypatch, ("write_checkpoint", 1), ("append_epoch", 2))
    assert any(row["val_accuracy"] != row["val_balanced_accuracy"] for row in rows)


def test_a_killed_fine_tuning_resumes_in_its_stage(make_config, monkeypatch, tmp_path):
    build_cnn(make_config().model, 16, 5).save(tmp_path / "own.keras")
    config = make_config(
        *("STRATEGY=lpft", f"WEIGHTS={tmp_path / 'own.keras'}", "training.epochs=4", "training.optimizer=sgd"),
        *("training.schedule=cosine", "training.ema=0.8", "finetune.batch_norm=trained", "finetune.dropout=0.5"),
    )
    # Within a stage, and between two.
    check_same(config, monkeypatch, ("write_checkpoint", 1), ("write_checkpoint", 1), ("write_checkpoint", 1))


def test_a_stage_that_stopped_early_is_not_trained_again(make_config, monkeypatch, tmp_path):
    build_cnn(make_config("model.batch_norm=false").model, 16, 5).save(tmp_path / "own.keras")
    config = make_config(
        *("STRATEGY=lpft", f"WEIGHTS={tmp_path / 'own.keras'}", "training.epochs=8", "training.patience=2"),
        "training.learning_rate=1e-9",
    )
    rows = check_same(config, monkeypatch, ("write_checkpoint", 3), ("append_epoch", 2))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 5, 6]


def test_the_same_settings_and_images_are_resumed(make_config, monkeypatch, capsys):
    config = make_config("training.epochs=3")
    die(config, monkeypatch, "write_checkpoint", 2)
    key = load_pack(config).manifest.hash
    with claim_run(config, "train-best", key) as first:
        assert (read_progress(first).epoch, read_progress(first).data_hash) == (2, key)
        message = f"{first.path} is being trained by another process: wait until it has ended, or give another NAME"
        with pytest.raises(UserError, match=message), claim_run(config, "train-best", key):
            pass
    for other, images in ((override(config, {"training.learning_rate": 0.5}), key), (config, "other images")):
        with claim_run(other, "train-best", images) as new:
            assert read_progress(new) is None
            assert new.path != first.path


def test_a_finished_run_has_no_checkpoint(make_config):
    config = make_config("training.epochs=1")
    train_and_evaluate(config, "train-best", "seed 0")
    (run,) = Path("runs/train-best").iterdir()
    assert sorted(path.name for path in run.iterdir()) == [
        *("best.keras", "config.yaml", "metrics.jsonl", "result.json"),
        *("test_predictions.npz", "training_sample.npz", "validation_sample.npz"),
    ]


def test_a_damaged_checkpoint_is_skipped(make_config, capsys):
    run = create_run(make_config(), "train-best")
    np.savez(run.checkpoint, progress="{}", weights=np.zeros(1000))
    whole = run.checkpoint.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    for content in (b"no checkpoint", whole[:500], bytes(damaged)):
        run.checkpoint.write_bytes(content)
        assert read_progress(run) is None
        assert "is damaged or was changed by hand, and is skipped" in capsys.readouterr().err
    run.checkpoint.unlink()
    os.mkfifo(run.checkpoint)
    assert read_progress(run) is None
    assert "is damaged or was changed by hand, and is skipped" in capsys.readouterr().err


def test_a_run_that_finishes_during_the_search_is_not_claimed(make_config, build_result, monkeypatch):
    run = create_run(make_config(), "train-best")
    finish_run(run, build_result())
    monkeypatch.setattr(checkpoint, "find_unfinished", lambda *_: [run])
    with claim_run(make_config(), "train-best", "") as claimed:
        assert claimed.path == run.path
    assert run.result.exists()
    assert not run.lock.exists()


def test_an_unfinished_run_with_the_configuration_of_another_is_named(make_config, monkeypatch, capsys):
    config = make_config("training.epochs=2")
    die(config, monkeypatch, "write_checkpoint", 1)
    [path] = Path("runs/train-best").iterdir()
    other = create_run(make_config("training.epochs=2", "NAME=other"), "train-best")
    (path / "config.yaml").write_bytes(other.config.read_bytes())
    with claim_run(config, "train-best", load_pack(config).manifest.hash) as run:
        assert run.path not in (path, other.path)
    warning = f"{path / 'config.yaml'} does not belong to checkpoint.npz, and its run is skipped"
    assert warning in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused(make_config):
    run = create_run(make_config(), "train-best")
    model = build_cnn(make_config().model, 16, 3)
    for arrays in ({}, {"model/0": np.zeros(3)}):
        np.savez(run.checkpoint, **arrays)
        with pytest.raises(UserError, match=r"does not fit this version: remove .* to train anew"):
            restore_variables(run, "model", model.variables)


def test_the_run_with_the_most_epochs_is_resumed(make_config, build_result, monkeypatch):
    config = make_config("training.epochs=3")
    die(config, monkeypatch, "write_checkpoint", 2)
    key = load_pack(config).manifest.hash
    second = create_run(config, "train-best")  # without an epoch
    with claim_run(config, "train-best", key) as first:
        assert first.path != second.path
        (first.path / ".part-half.npz").write_bytes(b"left by a killed process")
    with claim_run(config, "train-best", key) as again:
        assert again.path == first.path
        assert not (again.path / ".part-half.npz").exists()
    result = build_result(hash=key).model_copy(update={"config": config})
    finish_run(first, result)
    finished = first.result.read_bytes()
    with claim_run(config, "train-best", key) as last:
        assert last.path == first.path  # nothing is trained twice
    assert first.result.read_bytes() == finished


def test_a_student_resumes_exactly(make_config, monkeypatch):
    build_cnn(make_config().model, 32, 5).save("own.keras")
    tuned = make_config("STRATEGY=head", "WEIGHTS=own.keras", "data.image_size=32", "training.epochs=1")
    teacher = train_and_evaluate(tuned, "finetune", "teacher")
    settings = ("training.distillation_temperature=2", "training.teacher_weight=0.7")
    config = make_config(*RICH, f"training.teacher={teacher.path}", *settings)
    check_same(config, monkeypatch, ("write_checkpoint", 2))
