import os
import shutil

from keras_inat.files import write_json, write_text
from keras_inat.store.checksums import sign_lines
from keras_inat.store.records import Trial, find_best
from keras_inat.store.sweeps import SweepFolder, SweepIdentity, find_best_config, list_sweeps

SETTINGS = {
    "model.kernel_size": [3, 3, 3, 5, 5],
    "model.activation": "relu",
    "model.batch_norm": False,
    "training.learning_rate": 1e-3,
}


def make_trial(trial_id, **fields):
    return Trial(id=trial_id, values={"model.kernel_size": "[3, 3, 3, 5, 5]"}, settings=SETTINGS, **fields)


def test_a_trial_keeps_its_types_on_disk(tmp_path):
    folder = SweepFolder(tmp_path / "s")
    trial = make_trial("00", status="pruned", score=0.25, val_accuracies=(0.2, 0.25, 0.1))
    trial.write(folder.trial_file("00"))
    assert folder.read_trials() == [trial]
    assert folder.read_trial("00").settings == SETTINGS
    assert folder.read_trial("00").curve == [0.2, 0.25, 0.25]
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
    assert folder.read_trials() == [sound]
    warned = capsys.readouterr().err
    assert "1/trial.json is damaged or was changed by hand, and is skipped" in warned
    assert "2/trial.json is the record of trial 0, and is skipped" in warned
    assert "3/trial.json is missing" in warned


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
        write_text(folder.best, sign_lines("a: 1\n"))
        os.utime(folder.best, (0, 10**9 - age))
    assert find_best_config(tmp_path, None) == folders[-1].best
    folders[0].mark_newest()
    assert find_best_config(tmp_path, None) == folders[0].best
    assert [folder.read_order() for folder in folders] == [4, 2, 3]
    folders[0].mark_newest()
    assert folders[0].read_order() == 4
    for damage in (lambda path: path.write_text("x"), lambda path: path.write_text("9" * 20), os.mkfifo):
        folders[0].order.unlink()
        damage(folders[0].order)
        assert find_best_config(tmp_path, None) == folders[2].best
        assert f"{folders[0].order} is damaged or was changed by hand" in capsys.readouterr().err
