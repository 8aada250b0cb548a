import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from keras_inat.store.runs import create_run
from keras_inat.training import tracking
from keras_inat.training.session import fit
from keras_inat.training.tracking import open_tracking, select_tracked


def read_tensorboard(run):
    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    return events, lambda name: [(at.step, float(make_ndarray(at.tensor_proto))) for at in events.Tensors(name)]


def test_tensorboard_has_every_epoch_and_the_hyperparameters(make_config):
    config = make_config("tracking.tensorboard=true")
    run = create_run(config, "train-best")
    fit(config, run)
    events, read = read_tensorboard(run)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy", "learning_rate"):
        assert read(name) == [(epoch.epoch, pytest.approx(getattr(epoch, name))) for epoch in run.read_epochs()]
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"model.filters" in content


def test_tensorboard_of_a_resumed_run_has_each_epoch_once(make_config, build_epoch):
    config = make_config("tracking.tensorboard=true")
    run = create_run(config, "train-best")
    with open_tracking(config, run) as (log,):  # killed before it wrote the second epoch
        for epoch, accuracy in enumerate((0.5, 0.25), 1):
            run.append_epoch(build_epoch(epoch, accuracy))
            if epoch == 1:
                log.on_epoch_end(0)
    with open_tracking(config, run) as (log,):
        run.append_epoch(build_epoch(3, 0.75))
        log.on_epoch_end(2)
    events, read = read_tensorboard(run)
    assert read("val_accuracy") == [(1, 0.5), (2, 0.25), (3, 0.75)]
    assert "seconds" not in events.Tags()["tensors"]


def test_settings_are_flat_scalars(make_config):
    flat = select_tracked(make_config("model.kernel_size=[3,2]"))
    assert flat["model.kernel_size"] == "[3, 2]"
    assert flat["training.batch_size"] == 8
    assert not any(name.startswith(("sweep.", "finetune.")) for name in flat)
    assert not {"data.url", "data.directory"} & flat.keys()
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())


def test_a_tracker_that_is_not_installed_is_skipped(make_config, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "is_installed", lambda package: False)
    config = make_config("tracking.wandb=auto", "tracking.tensorboard=true")
    with open_tracking(config, create_run(config, "sweep")) as callbacks:
        assert callbacks == []
    assert capsys.readouterr().err == ""
    config = make_config("tracking.wandb=offline")
    with open_tracking(config, create_run(config, "sweep")) as callbacks:
        assert callbacks == []
    assert "W&B is not installed: pip install 'keras-inat[tracking]'" in capsys.readouterr().err
