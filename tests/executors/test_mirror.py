import zlib

import pytest

from keras_inat.errors import ExternalError
from keras_inat.executors import mirror
from keras_inat.executors.mirror import Change, Mirror, apply_changes, read_start
from keras_inat.store.runs import RunFolder


@pytest.fixture
def near(tmp_path):
    folder = tmp_path / "near" / "7"
    folder.mkdir(parents=True)
    return RunFolder(folder, "sweep")


@pytest.fixture
def far(tmp_path):
    folder = tmp_path / "far" / "7"
    folder.mkdir(parents=True)
    return RunFolder(folder, "sweep")


def names(changes):
    return [change.name for change in changes]


def test_epochs_and_lines_of_the_log_arrive_as_they_are_written(near, far, build_epoch):
    changes = Mirror(far)
    assert changes.collect() == []
    for number in (1, 2):
        far.append_epoch(build_epoch(number, number / 10))
        with open(far.path / "log.txt", "a") as log:
            log.write(f"epoch {number}\n")
        found = changes.collect()
        assert names(found) == ["metrics.jsonl", "log.txt"]
        apply_changes(near, found)
        assert near.read_epochs() == far.read_epochs()
    assert (near.path / "log.txt").read_text() == "epoch 1\nepoch 2\n"
    assert changes.collect() == []
    far.write_epochs(far.read_epochs()[:1])  # as a resumed run does
    apply_changes(near, changes.collect())
    assert [epoch.epoch for epoch in near.read_epochs()] == [1]


def test_a_checkpoint_is_sent_with_its_model_once_a_minute(near, far, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(mirror.time, "monotonic", lambda: now)
    changes = Mirror(far)
    for number in (1, 2, 3):
        far.model.write_text(f"model {number}")
        far.checkpoint.write_text(f"checkpoint {number}")
        sent = changes.collect()
        assert names(sent) == ([] if number == 2 else ["best.keras", "checkpoint.npz"])
        apply_changes(near, sent)
        now += 40
    assert (near.model.read_text(), near.checkpoint.read_text()) == ("model 3", "checkpoint 3")


def test_the_checkpoint_of_a_complete_training_does_not_wait(far):
    changes = Mirror(far)
    far.checkpoint.write_text("checkpoint 1")
    changes.collect()
    far.checkpoint.write_text("checkpoint 22")
    assert changes.collect() == []
    assert names(changes.collect(is_complete=True)) == ["checkpoint.npz"]


def test_a_model_that_is_newer_than_the_checkpoint_is_not_sent_with_it(far, monkeypatch):
    far_changes = Mirror(far)
    far.model.write_text("model 1")
    far.checkpoint.write_text("checkpoint 1")
    real = mirror._read
    written = []

    def read(folder, path):
        change = real(folder, path)
        if path == far.checkpoint and not written:
            written.append("model 2")  # the training writes it meanwhile
            far.model.unlink()
            far.model.write_text("model 2")
        return change

    monkeypatch.setattr(mirror, "_read", read)
    assert [zlib.decompress(change.data) for change in far_changes.collect()] == [b"model 2", b"checkpoint 1"]


def test_a_finished_run_arrives_with_every_file_and_its_result_last(near, far, build_epoch, build_result):
    changes = Mirror(far)
    far.append_epoch(build_epoch(1, 0.5))
    far.checkpoint.write_text("checkpoint")
    near.checkpoint.write_text("an earlier checkpoint")
    (far.path / "pictures").mkdir()
    (far.path / "pictures" / "a.png").write_text("a")
    (far.path / ".part-1.json").write_text("of a killed process")
    far.lock.touch()
    far.config.write_text("of the other machine")
    build_result().write(far.result)
    found = changes.collect_all()
    assert sorted(names(found)) == ["metrics.jsonl", "pictures/a.png", "result.json"]
    assert names(found)[-1] == "result.json"
    apply_changes(near, found)
    assert near.read_result() == far.read_result()
    assert not near.checkpoint.exists()
    assert (near.path / "pictures" / "a.png").read_text() == "a"


def test_a_pruned_trial_arrives_with_its_checkpoint(near, far, build_result):
    changes = Mirror(far)
    far.checkpoint.write_text("checkpoint")
    build_result().model_copy(update={"pruned": True}).write(far.result)
    apply_changes(near, changes.collect_all())
    assert near.read_result().pruned
    assert near.checkpoint.read_text() == "checkpoint"


def test_an_unfinished_run_leaves_its_last_checkpoint(near, far, build_epoch):
    changes = Mirror(far)
    far.checkpoint.write_text("checkpoint 1")
    changes.collect()
    far.append_epoch(build_epoch(2, 0.5))
    far.checkpoint.write_text("checkpoint 22")
    apply_changes(near, changes.collect_all())
    assert near.checkpoint.read_text() == "checkpoint 22"
    # Another machine resumes from there.
    start = read_start(near)
    assert names(start) == ["metrics.jsonl", "checkpoint.npz"]


@pytest.mark.parametrize("name", ["../8/result.json", "/etc/passwd", "a/../../x"])
def test_a_file_outside_the_run_folder_is_refused(near, name):
    with pytest.raises(ExternalError, match="outside the folder of its run"):
        apply_changes(near, [Change(name, zlib.compress(b"x"))])
    assert not list(near.path.parent.parent.rglob("result.json"))
