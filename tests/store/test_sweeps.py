import os
import shutil

import pytest
from sweep_records import write_sweep

from keras_inat.errors import UserError
from keras_inat.files import write_json
from keras_inat.store.records import Trial, find_best
from keras_inat.store.sweeps import SweepFolder, SweepIdentity, find_best_config, list_sweeps

SETTINGS = {
    "model.kernel_size": [3, 3, 3, 5, 5],
    "model.activation": "relu",
    "model.batch_norm": False,
    "training.learning_rate": 1e-3,
}


RATE = "training.learning_rate"


def make_trial(trial_id, **fields):
    return Trial(id=trial_id, values={"model.kernel_size": "[3, 3, 3, 5, 5]"}, settings=SETTINGS, **fields)


def test_a_trial_keeps_its_types_on_disk(tmp_path):
    folder = SweepFolder(tmp_path / "s")
    trial = make_trial("00", status="pruned", score=0.25, val_accuracies=(0.2, 0.25, 0.1))
    trial.write(folder.trial_file("00"))
    assert folder.read_trials(None) == [trial]
    assert folder.read_trial("00", None).settings == SETTINGS
    assert folder.read_trial("00", None).curve == [0.2, 0.25, 0.25]
    assert list_sweeps(tmp_path.parent) == []


def test_the_best_trial_is_completed_and_the_earliest_among_equals():
    trials = [
        make_trial("0", status="pruned", score=0.9),
        make_trial("1", status="completed", score=0.5),
        make_trial("2", status="completed", score=0.5),
        make_trial("3"),
    ]
    assert find_best(trials).id == "1"
    assert find_best(trials[:1]) is None


def test_trials_are_listed_by_number(tmp_path):
    folder = SweepFolder(tmp_path / "sweep" / "s")
    for trial_id in ("10", "9", "copy"):
        make_trial(trial_id).write(folder.trial_file(trial_id))
    assert folder.list_trial_ids() == ["9", "10"]
    assert list_sweeps(tmp_path) == [folder]


def test_a_damaged_trial_is_skipped_with_a_warning(tmp_path, capsys):
    folder = SweepFolder(tmp_path / "s")
    sound = Trial(id="0", values={}, settings={})
    sound.write(folder.trial_file("0"))
    write_json(folder.trial_file("1"), {"id": "1", "values": {}, "settings": {}})  # no checksum
    shutil.copytree(folder.trials / "0", folder.trials / "2")
    folder.trial_run("3").path.mkdir()
    folder.trial_run("3").config.touch()
    assert folder.read_trials(None) == [sound]
    warned = capsys.readouterr().err
    assert "1/trial.json is damaged or was changed by hand, and is skipped" in warned
    assert "2/trial.json is the record of trial 0, and is skipped" in warned
    assert "3/trial.json is missing" in warned


def test_a_trial_of_another_sweep_is_skipped_with_a_warning(tmp_path, capsys):
    own, other = SweepFolder(tmp_path / "own"), SweepFolder(tmp_path / "other")
    write_sweep(own, {RATE: 1e-3})
    write_sweep(other, {RATE: 1e-2})
    assert own.read_trials(own.find_identity())
    shutil.copy(other.trial_file("0"), own.trial_file("0"))
    assert own.read_trials(own.find_identity()) == []
    assert "own/trials/0/trial.json is the record of another sweep, and is skipped" in capsys.readouterr().err


def test_a_result_on_other_images_is_not_that_of_a_trial(tmp_path, build_result, capsys):
    folder = SweepFolder(tmp_path / "s")
    write_sweep(folder, {RATE: 1e-3})
    for images in ("abc", "other"):
        result = build_result(hash=images).model_copy(update={"command": "sweep"})
        result.write(folder.trial_run("0").result)
        assert folder.read_data(folder.find_identity()) == (result.data if images == "abc" else None)
    assert "trials/0/result.json is the result of another sweep or command" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["other sweep", "other images", "old", "folder", "no trial"])
def test_a_best_configuration_that_is_not_that_of_the_best_trial_is_refused(damage, tmp_path):
    own, other = (SweepFolder(tmp_path / "sweep" / name) for name in ("own", "other"))
    images = "def" if damage == "other images" else "abc"
    write_sweep(own, {RATE: 1e-2 if damage == "old" else 1e-3}, data_hash=images)
    write_sweep(other, {RATE: 1e-3})
    old = own.best.read_bytes()
    write_sweep(own, {RATE: 1e-3})
    assert find_best_config(tmp_path, "own") == own.best
    own.best.unlink()
    if damage == "folder":
        own.best.mkdir()
    else:
        own.best.write_bytes(other.best.read_bytes() if damage == "other sweep" else old)
    if damage == "no trial":
        own.trial_file("0").unlink()
    with pytest.raises(UserError, match=r"own/best\.yaml.*: run `keras-inat sweep` again, which writes it anew"):
        find_best_config(tmp_path, "own")


def test_a_removed_trial_is_missed(tmp_path, capsys):
    folder = SweepFolder(tmp_path / "s")
    for trial_id in "012":
        make_trial(trial_id).write(folder.trial_file(trial_id))
    assert len(folder.read_trials(None)) == 3
    assert capsys.readouterr().err == ""
    shutil.rmtree(folder.trials / "1")
    assert [trial.id for trial in folder.read_trials(None)] == ["0", "2"]
    assert capsys.readouterr().err == f"warning: a trial before 2 is missing from {folder.trials}\n"


def test_differences_of_two_sweeps_are_named(tmp_path):
    folder = SweepFolder(tmp_path / "s")
    first = SweepIdentity(space={"model.filters": [8, 16]}, settings={"sweep.epochs": 5}, data_hash="abc")
    folder.write_identity(first)
    assert folder.read_identity() == first
    second = SweepIdentity(space={"model.filters": [8]}, settings={"sweep.epochs": 6}, data_hash="def")
    assert first.compare(first) == []
    assert first.compare(second) == [
        "sweep.space.model.filters: [8, 16] -> [8]",
        "sweep.epochs: 5 -> 6",
        "data.hash: abc -> def",
    ]


def test_the_newest_sweep_was_run_last_whatever_the_times_of_its_files(tmp_path, capsys):
    folders = [SweepFolder(tmp_path / "sweep" / name) for name in "cab"]
    for age, folder in enumerate(folders):
        folder.mark_newest()
        write_sweep(folder, {RATE: 1e-3})
        os.utime(folder.best, (0, 10**9 - age))
    assert find_best_config(tmp_path, None) == folders[-1].best
    folders[0].mark_newest()
    assert find_best_config(tmp_path, None) == folders[0].best
    assert [folder.read_order() for folder in folders] == [4, 2, 3]
    folders[0].mark_newest()
    assert folders[0].read_order() == 4
    for damage in (
        lambda path: path.write_text("x"),
        lambda path: path.write_text("9" * 20),
        lambda path: path.write_text("5\n"),
        os.mkfifo,
    ):
        folders[0].order.unlink()
        damage(folders[0].order)
        assert find_best_config(tmp_path, None) == folders[2].best
        assert f"{folders[0].order} is damaged or was changed by hand" in capsys.readouterr().err
    folders[0].order.unlink()
    assert find_best_config(tmp_path, None) == folders[2].best
    assert f"{folders[0].order} is missing, and its sweep counts as the oldest one" in capsys.readouterr().err
    shutil.copy(folders[2].order, folders[0].order)
    assert find_best_config(tmp_path, None) == folders[2].best
    assert f"{folders[0].order} is damaged or was changed by hand" in capsys.readouterr().err
    folders[2].best.unlink()
    assert find_best_config(tmp_path, None) == folders[1].best
    assert f"{folders[2].best} is missing, and its sweep, the newest one, is skipped" in capsys.readouterr().err
    with pytest.raises(UserError, match=rf"{folders[2].best} is missing: run `keras-inat sweep NAME=b` again"):
        find_best_config(tmp_path, "b")


@pytest.mark.parametrize("path", ["trials", ""])
def test_a_sweep_whose_trials_are_lost_is_named(tmp_path, capsys, path):
    folder = SweepFolder(tmp_path / "sweep" / "s")
    write_sweep(folder, {RATE: 1e-3})
    folder.table.touch()
    folder.best.unlink()
    assert list_sweeps(tmp_path) == [folder]
    shutil.rmtree(folder.path / path)
    (folder.path / path).write_text("a file")
    assert list_sweeps(tmp_path) == []
    assert str(folder.path / path) in capsys.readouterr().err


def test_a_record_that_does_not_fit_the_result_of_its_trial_is_named(tmp_path, build_result, capsys):
    folder = SweepFolder(tmp_path / "s")
    make_trial("0", status="completed", score=0.5).write(folder.trial_file("0"))
    folder.read_trials(None)
    result = folder.trial_run("0").result
    assert capsys.readouterr().err == f"warning: {result} is missing\n"
    result.touch()
    folder.read_trials(None)
    assert capsys.readouterr().err == ""
    make_trial("0").write(folder.trial_file("0"))
    folder.read_trials(None)
    older = f"warning: {folder.trial_file('0')} is older than {result}: run the sweep again\n"
    assert capsys.readouterr().err == older
    build_result().write(result)
    make_trial("0", status="pruned", score=0.5).write(folder.trial_file("0"))  # before it went on
    folder.read_trials(None)
    assert capsys.readouterr().err == older
