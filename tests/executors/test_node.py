import sys
import time
from multiprocessing import forkserver

import pytest

from keras_inat import __version__
from keras_inat.data.packs import load_pack
from keras_inat.executors import inputs, node
from keras_inat.executors.inputs import find_copy, list_inputs
from keras_inat.executors.local import Question
from keras_inat.executors.mirror import apply_changes, read_start
from keras_inat.executors.node import Worker
from keras_inat.executors.tasks import Task
from keras_inat.files import hold_lock
from keras_inat.settings.catalog import name_places
from keras_inat.store.sweeps import locate_sweep


@pytest.fixture(autouse=True)
def _machine(monkeypatch, tmp_path, quick_starts):
    """Another machine has another cache, and Ray's program as its main program."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    main = vars(sys.modules["__main__"])
    before = main.get("__file__")
    main["__file__"] = "default_worker.py"
    monkeypatch.setattr(forkserver, "set_forkserver_preload", lambda modules: None)
    yield
    main.pop("__file__", None)
    if before:
        main["__file__"] = before


@pytest.fixture
def make_task(make_config, build_epoch, build_result):
    def make(act, *settings):
        config = make_config("NAME=s", "training.epochs=2", "tracking.wandb=offline", *settings)
        argument = [build_epoch(1, 0.5), build_epoch(2, 0.6), build_result()]
        run = locate_sweep(config).trial_run("0")
        return Task(f"acts:{act}", config, argument, run, load_pack(config))

    return make


def listen(worker, run, until=lambda message: message is not None):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        report = worker.listen()
        apply_changes(run, report.changes)
        if until(report.message):
            return report
    raise AssertionError("no report")


def test_a_worker_is_warm_and_names_its_version():
    assert Worker({}, None).warm_up() == __version__
    assert "__file__" not in vars(sys.modules["__main__"])  # no process imports Ray's program


def test_a_task_runs_elsewhere_and_leaves_its_files_here(make_task, tmp_path):
    task = make_task("train")
    worker = Worker({"OMP_NUM_THREADS": "1"}, None)
    worker.start(task, list_inputs(task.config, task.pack), [])
    for number in (1, 2):
        report = listen(worker, task.run)
        assert report.message == Question(number)
        assert [epoch.epoch for epoch in task.run.read_epochs()] == list(range(1, number + 1))
        worker.reply(False)
    # The checkpoint of the last epoch did not wait.
    assert (task.run.checkpoint.read_text(), task.run.model.read_text()) == ("checkpoint 2", "model 2")
    report = listen(worker, task.run)
    # The result has the places and trackers of this machine.
    assert report.message == task.run.read_result()
    assert report.message.config == name_places(task.config)
    assert task.run.log.read_text() == "resumes after 0\n"
    assert not task.run.config.exists()
    assert not list(tmp_path.glob("cache/keras-inat/tasks/*/runs"))


def test_another_worker_resumes_from_the_last_checkpoint_here(make_task):
    task = make_task("train")
    given = list_inputs(task.config, task.pack)
    lost = Worker({}, None)
    lost.start(task, given, [])
    listen(lost, task.run)
    lost._slot.end()  # as with its machine
    worker = Worker({}, None)
    worker.start(task, given, read_start(task.run))
    assert listen(worker, task.run).message == Question(2)
    worker.reply(False)
    listen(worker, task.run)
    assert task.run.log.read_text() == "resumes after 0\nresumes after 1\n"
    assert [epoch.epoch for epoch in task.run.read_epochs()] == [1, 2]


def test_a_task_that_is_stopped_leaves_its_last_checkpoint(make_task):
    task = make_task("hang_after_an_epoch")
    worker = Worker({}, None)
    assert worker.stop() == ((), None)
    worker.start(task, list_inputs(task.config, task.pack), [])
    listen(worker, task.run, until=lambda message: task.run.metrics.exists())
    apply_changes(task.run, worker.stop().changes)
    assert task.run.checkpoint.read_text() == "checkpoint 1"
    assert worker.stop() == ((), None)


@pytest.mark.parametrize(
    ("act", "words"),
    [("die", "MemoryError: its process was killed twice"), ("hang", "TimeoutError: ended after 0.5 s")],
)
def test_failures_are_those_of_one_machine(make_task, act, words):
    task = make_task(act)
    worker = Worker({}, 0.5 if act == "hang" else None)
    worker.start(task, list_inputs(task.config, task.pack), [])
    assert listen(worker, task.run).message.startswith(words)


def test_images_are_copied_once_for_a_machine(make_task, monkeypatch):
    task = make_task("train")
    (given,) = list_inputs(task.config, task.pack)
    content = {name: (task.pack.directory / name).read_bytes() for name in given.sizes}
    hidden = task.pack.directory.rename("hidden")
    worker = Worker({}, None)
    missing = worker.begin_copy(given)
    assert missing == list(content)
    (given.copy / f"of-a-killed-worker{node.PARTIAL}").touch()
    with pytest.raises(Exception, match="busy"), hold_lock(given.copy / "lock", "busy"):
        pass  # another worker of the machine waits
    monkeypatch.setattr(inputs, "PIECE", 1000)
    for name in missing:
        for piece in inputs.read_pieces(hidden / name):
            worker.receive(given, name, piece)
    assert find_copy(given)[1] == missing  # no file is there before it is complete
    worker.end_copy(given)
    assert {name: (given.copy / name).read_bytes() for name in given.sizes} == content
    other = Worker({}, None)
    assert other.begin_copy(given) == []
    other.start(task, [given], [])
    assert listen(other, task.run).message == Question(1)
    other.stop()


def test_the_folders_of_killed_workers_are_removed():
    worker = Worker({}, None)
    left = worker._home.with_name("left")
    left.mkdir()
    (left / "lock").touch()
    Worker({}, None)
    assert not left.exists()
    assert worker._home.exists()
