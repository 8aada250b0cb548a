import json
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from keras_inat.store.runs import create_run
from keras_inat.training import tracking
from keras_inat.training.session import fit
from keras_inat.training.tracking import _is_logged_in, choose_wandb_mode, open_tracking, select_tracked


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


def read_wandb(run):
    """Reads an offline run with W&B's own tool. Returns its beginning, its epochs and its summary."""
    (folder,) = run.path.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    (begun,) = [record["run"] for record in records if record["type"] == "run"]
    epochs = [record["history"]["item"] for record in records if record["type"] == "history"]
    summary = {}
    for record in records:
        summary |= record["summary"]["update"] if record["type"] == "summary" else {}
    return begun, epochs, summary


def test_wandb_records_offline_without_login_or_network(make_config):
    config = make_config("tracking.wandb=auto", "run.name=sweepy", "training.epochs=3", "training.learning_rate=0.01")
    run = create_run(config, "sweep")
    fit(config, run, title="7 filters=4")
    begun, epochs, summary = read_wandb(run)
    assert (begun["run_group"], begun["display_name"], begun["job_type"]) == ("sweepy", "7 filters=4", "sweep")
    assert begun["config"]["update"]["model_filters"] == 4
    accuracies = [epoch.val_accuracy for epoch in run.read_epochs()]
    assert [epoch["epoch/val_accuracy"] for epoch in epochs] == pytest.approx(accuracies, abs=1e-6)
    assert [epoch["epoch/epoch"] for epoch in epochs] == [0, 1, 2]
    assert summary["val_accuracy"] == pytest.approx(max(accuracies), abs=1e-6)


def test_the_offline_record_of_a_resumed_run_has_its_earlier_epochs(make_config, build_epoch):
    config = make_config("tracking.wandb=offline")
    run = create_run(config, "sweep")
    stale = run.path / "wandb" / "offline-run-0" / "0.wandb"  # left by a killed process
    stale.parent.mkdir(parents=True)
    stale.touch()
    for epoch, accuracy in enumerate((0.5, 0.25), 1):
        run.append_epoch(build_epoch(epoch, accuracy))
    with open_tracking(config, run):
        pass
    _, epochs, summary = read_wandb(run)
    assert [epoch["epoch/val_accuracy"] for epoch in epochs] == [0.5, 0.25]
    assert "epoch/seconds" not in epochs[0]
    assert summary["val_accuracy"] == 0.5


def test_a_broken_wandb_stops_nothing(make_config, monkeypatch, capsys):
    import wandb

    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    config = make_config("tracking.wandb=offline")
    with open_tracking(config, create_run(config, "sweep")) as callbacks:
        assert callbacks == []
    assert "warning: W&B does not track this run, because it failed: division by zero" in capsys.readouterr().err


def test_wandb_that_dies_in_the_middle_stops_nothing(make_config, monkeypatch, capsys):
    import wandb

    monkeypatch.setattr(wandb.Run, "log", lambda *_: 1 / 0)
    config = make_config("tracking.wandb=offline")
    assert fit(config, create_run(config, "sweep")).result.epochs == 2
    assert capsys.readouterr().err.count("W&B stops tracking this run") == 1


@pytest.mark.parametrize("netrc", ["", "machine api.wandb.ai\n  login user\n  password " + "a" * 40])
def test_a_login_is_found(netrc, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(netrc)
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert _is_logged_in() == bool(netrc)


def test_settings_are_flat_scalars(make_config):
    flat = select_tracked(make_config("model.kernel_size=[3,2]"))
    assert flat["model.kernel_size"] == "[3, 2]"
    assert flat["training.batch_size"] == 8
    assert not any(name.startswith(("sweep.", "finetune.")) for name in flat)
    assert not {"data.url", "data.directory"} & flat.keys()
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())


@pytest.mark.parametrize(
    ("setting", "variable", "mode"),
    [
        ("auto", "", "online"),
        ("auto", "offline", "offline"),
        ("auto", "dryrun", "offline"),
        ("auto", "disabled", "disabled"),
        ("online", "disabled", "online"),
        ("disabled", "online", "disabled"),
    ],
)
def test_the_variable_of_wandb_decides_unless_a_setting_does(setting, variable, mode, make_config, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", variable)
    monkeypatch.setattr(tracking, "_is_logged_in", lambda: True)
    assert choose_wandb_mode(make_config(f"tracking.wandb={setting}")) == mode


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
