import contextlib
import queue

import pytest

from keras_inat.executors import following
from keras_inat.executors.following import Event, Follower, follow_runs
from keras_inat.executors.tasks import Task
from keras_inat.settings.loading import load_config
from keras_inat.store.runs import RunFolder


@pytest.fixture
def tracked(monkeypatch):
    """Records what a tracker gets."""
    calls = []

    class Tracker:
        def __init__(self, run):
            self.name = run.path.name

        def on_epoch_end(self, epoch):
            calls.append((self.name, epoch))

        def log_evaluation(self, result):
            calls.append((self.name, result.test_scores.accuracy))

    @contextlib.contextmanager
    def open_tracking(config, run, title):
        calls.append((run.path.name, title))
        succeeded = False
        try:
            yield [Tracker(run)]
            succeeded = True
        finally:
            calls.append((run.path.name, succeeded))

    monkeypatch.setattr("keras_inat.training.tracking.open_tracking", open_tracking)
    return calls


@pytest.fixture
def make_run(tmp_path, build_epoch):
    def make(name, command, num_epochs=0):
        run = RunFolder(tmp_path / name, command)
        run.path.mkdir()
        for number in range(1, num_epochs + 1):
            run.append_epoch(build_epoch(number, 0.5))
        return run

    return make


def follow(*steps):
    """Follows the events, and calls the functions between them."""
    remaining = iter([*steps, None])

    def get():
        for step in remaining:
            if not callable(step):
                return step
            step()
        return None

    follow_runs(get)


def test_epochs_results_and_failures_of_several_runs_are_tracked(make_run, tracked, build_epoch, build_result):
    config = load_config(["NAME=s"])
    first = make_run("first", "train-best", num_epochs=1)
    second = make_run("second", "sweep")
    follow(
        Event(first, begun=(config, "one")),
        Event(second, begun=(config, "two")),
        lambda: [first.append_epoch(build_epoch(number, 0.5)) for number in (2, 3)],
        Event(first),
        Event(first, begun=(config, "one")),  # after the loss of a worker
        lambda: build_result().write(first.result),
        Event(first, succeeded=True),
        lambda: second.append_epoch(build_epoch(1, 0.5)),
        Event(second, succeeded=False),
    )
    accuracy = build_result().test_scores.accuracy
    assert [call[1] for call in tracked if call[0] == "first"] == ["one", 1, 2, accuracy, True]
    assert [call[1] for call in tracked if call[0] == "second"] == ["two", 0, False]


def test_an_interrupted_run_is_not_recorded_as_a_success(make_run, tracked):
    follow(Event(make_run("first", "sweep"), begun=(load_config(["NAME=s"]), "one")))
    assert tracked == [("first", "one"), ("first", False)]


def test_without_trackers_no_process_is_started(monkeypatch, make_run):
    settings = ["NAME=s", "tracking.wandb=disabled", "tracking.tensorboard=false"]
    monkeypatch.setattr(following.CONTEXT, "Process", lambda *_, **__: pytest.fail("a process was started"))
    follower = Follower()
    task = Task("acts:train", load_config(settings), None, make_run("first", "sweep"))
    follower.begin(task)
    follower.update(task, succeeded=True)
    follower.close()


def test_events_name_the_run_and_its_title(monkeypatch, make_run):
    class Process:
        def __init__(self, **options):
            pass

        start = kill = join = lambda *_: None

    monkeypatch.setattr(following.CONTEXT, "Process", Process)
    monkeypatch.setattr(following.CONTEXT, "Queue", queue.SimpleQueue)
    follower = Follower()
    run = make_run("first", "sweep")
    task = Task("acts:train", load_config(["NAME=s"]), None, run)
    follower.begin(task)
    follower.update(task)
    follower.update(task, succeeded=True)
    follower.close()
    events = [follower._events.get() for _ in range(4)]
    assert events == [Event(run, (task.config, "first")), Event(run), Event(run, succeeded=True), None]
