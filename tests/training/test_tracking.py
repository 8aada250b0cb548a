from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_inat.runs import create_run
from keras_inat.training.loop import fit
from keras_inat.training.tracking import flatten, open_tracking


def test_tensorboard_has_every_epoch_and_the_hyperparameters(make_config):
    config = make_config("tracking.tensorboard=true")
    run = create_run(config, "train-best")
    fit(config, run)
    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    assert len(events.Tensors("val_accuracy")) == 2
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"model.filters" in content


def test_wandb_records_offline_without_login_or_network(make_config):
    config = make_config("tracking.wandb=auto", "run.name=sweepy")
    run = create_run(config, "sweep")
    fit(config, run, group="group", title="7 filters=4")
    (record,) = run.path.glob("wandb/offline-run-*/*.wandb")
    content = record.read_bytes()
    for word in (b"7 filters=4", b"group", b"epoch/val_accuracy", b"model.filters"):
        assert word in content


def test_a_broken_wandb_stops_nothing(make_config, monkeypatch, capsys):
    import wandb

    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    config = make_config("tracking.wandb=offline")
    with open_tracking(config, create_run(config, "sweep")) as callbacks:
        assert callbacks == []
    assert "W&B is left out" in capsys.readouterr().out


def test_settings_are_flat_scalars(make_config):
    flat = flatten(make_config("model.kernel_size=[3,2]"))
    assert flat["model.kernel_size"] == "(3, 2)"
    assert flat["training.batch_size"] == 8
    assert not any(name.startswith(("sweep.", "finetune.")) for name in flat)
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())
