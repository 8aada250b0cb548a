import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_inat.runs import append_jsonl, create_run
from keras_inat.training.loop import fit
from keras_inat.training.tracking import _is_logged_in, flatten, open_tracking


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


def test_the_offline_record_of_a_run_that_goes_on_has_its_earlier_epochs(make_config):
    config = make_config("tracking.wandb=offline")
    run = create_run(config, "sweep")
    stale = run.path / "wandb" / "offline-run-0" / "0.wandb"  # cut short by a kill
    stale.parent.mkdir(parents=True)
    stale.touch()
    append_jsonl(run.metrics, {"epoch": 1, "stage": "all", "val_accuracy": 0.123456, "seconds": 7.654321})
    with open_tracking(config, run):
        pass
    (record,) = run.path.glob("wandb/offline-run-*/*.wandb")
    end = time.monotonic() + 30  # its service writes when it gets to it
    while b"0.123456" not in record.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert b"7.654321" not in record.read_bytes()


def test_a_broken_wandb_stops_nothing(make_config, monkeypatch, capsys):
    import wandb

    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    config = make_config("tracking.wandb=offline")
    with open_tracking(config, create_run(config, "sweep")) as callbacks:
        assert callbacks == []
    assert "W&B is left out" in capsys.readouterr().out


def test_wandb_that_dies_in_the_middle_stops_nothing(make_config, monkeypatch, capsys):
    import wandb.integration.keras

    monkeypatch.setattr(wandb.integration.keras.WandbMetricsLogger, "on_epoch_end", lambda *_: 1 / 0)
    config = make_config("tracking.wandb=offline")
    assert fit(config, create_run(config, "sweep")).result["epochs"] == 2
    assert capsys.readouterr().out.count("W&B is left out from here on") == 1


@pytest.mark.parametrize("netrc", ["", "machine api.wandb.ai\n  login user\n  password " + "a" * 40])
def test_a_login_is_found(netrc, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(netrc)
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert _is_logged_in() == bool(netrc)


def test_settings_are_flat_scalars(make_config):
    flat = flatten(make_config("model.kernel_size=[3,2]"))
    assert flat["model.kernel_size"] == "(3, 2)"
    assert flat["training.batch_size"] == 8
    assert not any(name.startswith(("sweep.", "finetune.")) for name in flat)
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())
