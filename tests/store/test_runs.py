import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keras_inat.errors import UserError
from keras_inat.files import hash_file, write_json
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Config
from keras_inat.store.checksums import add_checksum
from keras_inat.store.records import Result
from keras_inat.store.runs import (
    create_run,
    find_finished,
    find_newest,
    find_unfinished,
    finish_run,
    hash_weights,
    list_runs,
)


def test_runs_of_the_same_second_get_folders_of_their_own():
    first = create_run(Config(), "train-best", "x")
    second = create_run(Config(), "train-best", "x")
    assert first.path != second.path
    assert load_config([], first.config) == Config()


@pytest.mark.parametrize("name", ["config.yaml", "result.json"])
def test_a_damaged_record_of_a_finished_run_does_not_repeat_its_evaluation(two_runs, name):
    _, new = two_runs
    path = new.path / name
    path.write_bytes(path.read_bytes().replace(b"seed", b"sead", 1))
    with pytest.raises(UserError, match=rf"{new.result} or {new.config} is damaged or was changed by hand: restore it"):
        find_finished(load_config(["run.seed=1"]), "train-best", "abc")


def test_a_folder_of_the_last_second_hinders_no_run():
    Path("runs/train-best/99991231-235959-x").mkdir(parents=True)
    assert create_run(Config(), "train-best", "x").path.name.startswith("20")


class SetClock(datetime):
    """A clock that can be set."""

    time = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)

    @classmethod
    def now(cls, tz=None):
        return cls.time.astimezone(tz)


@pytest.fixture
def set_zone(monkeypatch):
    def change(zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("hours", [-24 * 365, -3, 0, 3, 24 * 365])
def test_the_newest_run_is_the_last_one_whatever_the_clock_says(build_result, monkeypatch, set_zone, hours):
    def create(command, name):
        run = create_run(Config(), command, name)
        finish_run(run, build_result())
        run.model.touch()
        return run

    monkeypatch.setattr("keras_inat.store.runs.datetime", SetClock)
    set_zone("Pacific/Kiritimati")  # 14 hours ahead of UTC
    runs = [create("train-best", "z"), create("finetune", "y")]
    assert [run.path.name for run in runs] == ["20260131-235959-z", "20260201-000000-y"]
    monkeypatch.setattr(SetClock, "time", SetClock.time + timedelta(hours=hours))
    set_zone("Pacific/Pago_Pago")  # 11 hours behind
    runs += [create("finetune", "b"), create("train-best", "a")]
    assert list_runs("runs") == runs
    assert find_newest("runs")[0] == runs[-1]
    assert list_runs("runs", ["finetune"]) == runs[1:3]


def test_an_interrupted_creation_of_a_run_leaves_no_run(monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_inat.files.sync_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create_run(Config(), "train-best", "a")
    assert list(Path("runs/train-best").iterdir()) == []


def test_a_result_is_read_as_it_was_written(build_result):
    config = load_config(
        ["model.filters=[1,2,3,4,5]", "STRATEGY=topk", "UNFREEZE=0.5", "sweep.space={model.filters: [[1, 2]]}"]
    )
    result = build_result().model_copy(update={"config": config})
    run = create_run(config, "finetune", "a")
    finished = finish_run(run, result)
    assert run.read_result() == finished
    assert finished.model_copy(update={"folder": "", "files": {}}) == result
    assert run.read_result().config.model.filters == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"data": 1}', '{"data": {}}'])
def test_a_damaged_result_is_skipped_with_a_warning(text, capsys):
    run = create_run(Config(), "train-best", "a")
    run.result.write_text(text)
    assert run.read_result() is None
    with pytest.raises(
        UserError, match=r"result\.json or .*config.yaml is damaged .*: restore it, or remove .* to train and evaluate"
    ):
        find_finished(Config(), "train-best", "abc")
    assert find_finished(load_config(["run.seed=1"]), "train-best", "abc") is None
    assert "result.json is damaged or was changed by hand, and is skipped" in capsys.readouterr().err


@pytest.mark.parametrize("lost", sorted(Result.model_fields.keys() - {"pruned", "temperature", "folder", "files"}))
def test_a_result_without_one_of_its_fields_is_damaged(lost, build_result):
    run = create_run(Config(), "train-best", "a")
    values = build_result().model_dump(mode="json")
    del values[lost]
    write_json(run.result, add_checksum(values))
    assert run.read_result() is None


def test_a_result_with_a_nested_field_missing_or_unknown_is_damaged(build_result):
    run = create_run(Config(), "train-best", "a")
    values = build_result().model_dump(mode="json")
    write_json(run.result, add_checksum(values | {"data": {**values["data"], "more": 1}}))
    assert run.read_result() is None
    del values["data"]["hash"]
    write_json(run.result, add_checksum(values))
    assert run.read_result() is None


def test_only_finished_runs_are_listed(build_result):
    done = create_run(Config(), "train-best", "a")
    unfinished = create_run(Config(), "train-best", "b")
    finish_run(done, build_result())
    assert list_runs("runs") == [done]
    assert list(find_unfinished(Config(), "train-best")) == [unfinished]
    assert find_finished(Config(), "train-best", "abc") is None  # no model yet
    done.model.touch()
    assert find_finished(Config(), "train-best", "abc") == done


@pytest.mark.parametrize("kept", ["model", "predictions"])
def test_a_lost_result_is_named(build_result, capsys, kept):
    run = create_run(Config(), "train-best", "a")
    getattr(run, kept).write_bytes(b"x")
    run.checkpoint.touch()
    assert list_runs("runs") == []  # unfinished
    finish_run(run, build_result())
    assert list_runs("runs") == [run]
    assert capsys.readouterr().err == ""
    run.result.unlink()
    assert list_runs("runs") == []
    assert capsys.readouterr().err == f"warning: {run.result} is missing, and its run is skipped\n"


def test_a_lost_file_of_a_finished_run_is_named(build_result, capsys):
    run = create_run(Config(), "train-best", "a")
    run.predictions.write_bytes(b"arrays")
    result = finish_run(run, build_result())
    assert run.is_unchanged(result, run.predictions)
    run.predictions.unlink()
    assert not run.is_unchanged(result, run.predictions)
    assert not run.is_unchanged(result, run.model)  # it never had one
    assert capsys.readouterr().err == f"warning: {run.predictions} is missing, and is skipped\n"


@pytest.mark.parametrize("setting", ["SEEDS=3", "DATA=moved", "tracking.wandb=offline", "report.neurons=selective"])
def test_settings_without_an_effect_on_the_outcome_find_the_same_run(setting, build_result):
    done = create_run(Config(), "train-best", "a")
    finish_run(done, build_result())
    done.model.touch()
    assert find_finished(load_config([setting]), "train-best", "abc") == done


@pytest.mark.parametrize("setting", ["model.filters=8", "run.seed=1", "run.deterministic=true", "data.split_seed=1"])
def test_settings_with_an_effect_on_the_outcome_find_no_run(setting, build_result):
    done = create_run(Config(), "train-best", "a")
    finish_run(done, build_result())
    done.model.touch()
    assert find_finished(Config(), "train-best", "other images") is None
    assert find_finished(load_config([setting]), "train-best", "abc") is None


def test_damaged_epochs_are_skipped_and_can_be_replaced(build_epoch, capsys):
    run = create_run(Config(), "train-best", "a")
    epochs = [build_epoch(number, number / 10) for number in (1, 2, 3)]
    for epoch in epochs:
        run.append_epoch(epoch)
    line = run.metrics.read_text().splitlines()[0]
    with open(run.metrics, "a") as file:
        file.write('{"epoch": 4, "stage"\n{"epoch": 5}\n' + line.replace("0.1", "0.9") + '\n{"epoch')
    assert run.read_epochs() == epochs
    warned = capsys.readouterr().err
    assert [f"line {number} of" in warned for number in (3, 4, 5, 6, 7)] == [False, True, True, True, False]
    run.write_epochs(epochs[:2])
    assert run.read_epochs() == epochs[:2]
    assert [json.loads(line)["epoch"] for line in run.metrics.read_text().splitlines()] == [1, 2]


@pytest.fixture
def two_runs(build_result):
    """Two finished runs, which differ in the seed."""
    runs = []
    for seed in (0, 1):
        config = load_config([f"run.seed={seed}"])
        run = create_run(config, "train-best", f"seed{seed}")
        run.model.write_text(f"model {seed}")
        run.write_epochs([])
        finish_run(run, build_result().model_copy(update={"config": config}))
        runs.append(run)
    return runs


def test_a_lost_model_is_named_wherever_its_run_would_be_taken(two_runs, capsys):
    old, new = two_runs
    assert find_newest("runs")[0] == new
    assert find_finished(load_config(["run.seed=1"]), "train-best", "abc") == new
    assert capsys.readouterr().err == ""
    new.model.unlink()
    assert find_newest("runs")[0] == old
    assert find_finished(load_config(["run.seed=1"]), "train-best", "abc") is None
    assert capsys.readouterr().err == 2 * f"warning: {new.model} is missing, and its run is skipped\n"


def test_exchanged_and_renamed_folders_are_named(two_runs, capsys):
    old, new = (run.path for run in two_runs)
    old.rename("x")
    new.rename(old)
    Path("x").rename(new)
    assert find_newest("runs")[0].path == new
    assert f"{new}/result.json was written in the folder train-best/{old.name}, which was moved, renamed or copied" in (
        capsys.readouterr().err
    )


def test_a_run_that_was_moved_to_another_command_is_named_and_not_repeated(two_runs, capsys):
    _, new = two_runs
    moved = Path("runs/finetune") / new.path.name
    moved.parent.mkdir()
    new.path.rename(moved)
    assert find_finished(load_config(["run.seed=1"]), "train-best", "abc").path == moved
    assert f"{moved}/result.json was written in the folder train-best/{moved.name}, which was moved" in (
        capsys.readouterr().err
    )


def test_a_file_where_a_folder_of_a_run_should_be_is_named(two_runs, capsys):
    Path("runs/finetune").write_text("x")
    Path("runs/train-best/notes").write_text("x")
    Path("runs/train-best/.hidden").write_text("x")
    assert list_runs("runs") == two_runs
    assert capsys.readouterr().err.splitlines() == [
        "warning: runs/train-best/notes is not a folder, and is skipped",
        "warning: runs/finetune is not a folder, and is skipped",
    ]


def test_weights_of_a_run_whose_model_was_exchanged_are_refused(two_runs, capsys):
    old, new = two_runs
    config = load_config(["STRATEGY=topk", f"WEIGHTS={new.model}"])
    assert hash_weights(config) == hash_file(new.model)
    new.model.write_bytes(old.model.read_bytes())
    with pytest.raises(UserError, match=rf"{new.model} is damaged or was changed by hand: restore it"):
        hash_weights(config)
    new.result.unlink()
    assert hash_weights(config) == hash_file(new.model)
    assert f"{new.result} is missing, so nothing shows whether {new.model} is the model" in capsys.readouterr().err
    new.result.write_bytes(old.result.read_bytes())
    hash_weights(config)
    assert f"{new.result} does not belong to {new.config}, and is skipped" in capsys.readouterr().err
