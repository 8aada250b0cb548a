"""The executor of a cluster with a scripted bridge. `test_ray.py` has a real one."""

import multiprocessing
import threading

import pytest

from keras_inat.errors import ExternalError
from keras_inat.executors import cluster
from keras_inat.executors.bridge import Connected, Lost, News, Ready, Reply, Slots, Start, plan_slots
from keras_inat.executors.cluster import MAX_LOSSES, ClusterExecutor
from keras_inat.executors.local import Question
from keras_inat.executors.mirror import Mirror
from keras_inat.executors.node import Report
from keras_inat.executors.tasks import Resources, Task
from keras_inat.settings.loading import load_config
from keras_inat.store.runs import RunFolder
from keras_inat.store.sweeps import locate_sweep


class Process:
    def kill(self):
        pass

    def join(self):
        pass


class Follower:
    def __init__(self):
        self.events = []

    def begin(self, task):
        self.events.append("begin")

    def update(self, task, succeeded=None):
        self.events.append(succeeded)

    def close(self):
        self.events.append("close")


@pytest.fixture
def bridges(monkeypatch):
    """The ends of the pipes at the bridge, one for each connection."""
    ends = []

    def connect(executor):
        executor._pipe, end = multiprocessing.Pipe()
        executor._process = Process()
        ends.append(end)

    monkeypatch.setattr(ClusterExecutor, "_connect", connect)
    monkeypatch.setattr(cluster, "Follower", Follower)
    monkeypatch.setattr(cluster, "RETRY_SECONDS", 0)
    return ends


@pytest.fixture
def executor(bridges):
    executor = ClusterExecutor("auto", Resources(3), lambda task, value: 10 * value)
    send(bridges, Connected(), Ready(0), Ready(1))
    executor.wait(0)
    assert executor.num_free == 2
    return executor


def send(bridges, *messages):
    for message in messages:
        bridges[-1].send(message)


def make_task(number="0"):
    config = load_config(["NAME=s"])
    run = locate_sweep(config).trial_run(number)
    return Task("acts:train", config, None, run, title=number)


def lost(slot=0, is_out_of_memory=False):
    return Lost(slot, "its machine is gone", is_out_of_memory)


def started(bridges):
    assert bridges[-1].poll(1)
    order = bridges[-1].recv()
    assert isinstance(order, Start)
    return order.slot, order.task.title


def test_a_task_gets_its_answers_and_ends(executor, bridges, build_epoch, tmp_path):
    task = make_task()
    executor.start(task)
    assert executor.num_free == 1
    assert started(bridges) == (0, "0")
    far = RunFolder(tmp_path / "far", "sweep")
    far.path.mkdir()
    mirror = Mirror(far)
    far.append_epoch(build_epoch(1, 0.5))
    send(bridges, News(0, Report(mirror.collect(), Question(4))))
    assert executor.wait(0) == []
    assert task.run.read_epochs() == far.read_epochs()
    assert bridges[-1].recv() == Reply(0, 40)
    send(bridges, News(0, Report((), "an outcome")), Ready(0))
    assert executor.wait(1) == [(task, "an outcome")]
    executor.wait(0)
    assert executor.num_free == 2
    assert executor._follower.events == ["begin", None, False]


def test_a_lost_task_resumes_before_others_on_the_next_free_worker(executor, bridges, capsys):
    first, second, third = tasks = [make_task(number) for number in "012"]
    executor.start(first)
    executor.start(second)
    assert [started(bridges), started(bridges)] == [(0, "0"), (1, "1")]
    executor._waiting.append(third)  # a new worker will take it
    send(bridges, lost(0))
    executor.wait(0)
    assert "0 has lost its worker and resumes on another one: its machine is gone" in capsys.readouterr().err
    send(bridges, News(0, Report((), "late news of the lost worker")), Ready(0))
    assert executor.wait(0) == []
    assert started(bridges) == (0, "0")
    send(bridges, News(1, Report((), "an outcome")), Ready(1))
    assert executor.wait(1) == [(second, "an outcome")]
    executor.wait(0)
    assert started(bridges) == (1, "2")
    assert len({id(task) for task in tasks}) == 3


def test_a_free_worker_that_is_lost_gets_no_task(executor, bridges):
    send(bridges, lost(0))
    executor.wait(0)
    assert executor.num_free == 1
    executor.start(make_task())
    assert started(bridges)[0] == 1


@pytest.mark.parametrize(
    ("is_out_of_memory", "losses", "words"),
    [
        (True, 2, "MemoryError: its worker was killed twice"),
        (
            False,
            MAX_LOSSES,
            f"RuntimeError: its worker was lost {MAX_LOSSES} times without an epoch in between: its machi",
        ),
    ],
)
def test_a_task_that_always_loses_its_worker_has_failed(executor, bridges, is_out_of_memory, losses, words):
    task = make_task()
    executor.start(task)
    for number in range(1, losses + 1):
        send(bridges, lost(1), lost(0, is_out_of_memory), Ready(0))
        ended = executor.wait(0) + executor.wait(0)
        assert len(ended) == (number == losses)
    assert ended[0][0] is task
    assert ended[0][1].startswith(words)


def test_a_lost_cluster_may_come_back(executor, bridges, capsys):
    task = make_task()
    executor.start(task)
    bridges[0].close()
    executor.wait(0)
    assert "the Ray cluster is lost (its head does not answer): waiting up to 10 minutes" in capsys.readouterr().err
    assert executor.num_free == 0
    send(bridges, ConnectionError("refused"))
    executor.wait(0)
    assert not capsys.readouterr().err  # once is enough
    assert len(bridges) == 3
    send(bridges, Connected(), Ready(0))
    executor.wait(0)
    assert started(bridges) == (0, "0")


def test_a_cluster_that_does_not_come_back_is_an_error(executor, bridges, monkeypatch):
    monkeypatch.setattr(cluster, "RETURN_SECONDS", -1)
    bridges[0].close()
    with pytest.raises(ExternalError, match="once it is back, the same command resumes"):
        executor.wait(0)


def test_without_a_cluster_the_error_names_the_address(bridges):
    executor = ClusterExecutor("there:6379", Resources(1), lambda *_: None)
    send(bridges, ConnectionError("refused"))
    with pytest.raises(
        ExternalError, match=r"no Ray cluster at CLUSTER=there:6379 \(refused\): start one with `ray st"
    ):
        executor.wait(1)


def test_workers_of_another_version_are_an_error(executor, bridges):
    send(bridges, ExternalError("a machine of the cluster has keras-inat 0.0"))
    with pytest.raises(ExternalError, match=r"keras-inat 0\.0"):
        executor.wait(1)


def test_the_last_changes_arrive_while_the_executor_closes(executor, bridges, build_epoch, tmp_path):
    task = make_task()
    executor.start(task)
    far = RunFolder(tmp_path / "far", "sweep")
    far.path.mkdir()
    mirror = Mirror(far)
    far.append_epoch(build_epoch(1, 0.5))
    far.checkpoint.write_text("checkpoint 1")
    send(bridges, News(0, Report(mirror.collect_all())))
    end = bridges.pop()
    bridges.append(None)
    threading.Timer(0.2, end.close).start()
    executor.close()
    assert task.run.checkpoint.read_text() == "checkpoint 1"
    assert executor._follower.events[-1] == "close"


@pytest.mark.parametrize(
    ("machines", "wanted", "slots"),
    [
        ([{"CPU": 8}], Resources(3), Slots(3, 2, 0)),
        ([{"CPU": 8}, {"CPU": 8}], Resources(30), Slots(16, 1, 0)),
        ([{"CPU": 8}, {"CPU": 8}], Resources(30, cpus=3), Slots(4, 3, 0)),
        ([{"CPU": 64}, {"CPU": 4}], Resources(1), Slots(1, 64, 0)),
        ([{"CPU": 32}, {"CPU": 32}], Resources(5), Slots(5, 10, 0)),
        ([{"CPU": 64}, {"CPU": 8}], Resources(30, workers=4), Slots(4, 16, 0)),
        ([{"CPU": 8}], Resources(30, workers=2), Slots(2, 4, 0)),
        ([{"CPU": 1}], Resources(30, workers=5), Slots(5, 1, 0)),  # an autoscaler sees that four of them wait
        ([{"CPU": 16, "GPU": 4}], Resources(30), Slots(4, 4, 1)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 32}], Resources(30), Slots(4, 4, 1)),
        ([{"CPU": 16, "GPU": 4}], Resources(30, gpus=0.5), Slots(8, 2, 0.5)),
        ([{"CPU": 16, "GPU": 4}], Resources(30, gpus=0.3), Slots(12, 1, 0.3)),
        ([{"CPU": 16, "GPU": 4}], Resources(30, gpus=2), Slots(2, 8, 2)),
        ([{"CPU": 16, "GPU": 4}], Resources(30, gpus=0), Slots(16, 1, 0)),
        ([{"CPU": 0}, {"memory": 9}], Resources(30), Slots(1, 1, 0)),
        ([], Resources(30), Slots(1, 1, 0)),
        ([{"CPU": 8}], Resources(30, gpus=1), Slots(1, 1, 1)),  # it waits for a machine with a GPU
    ],
)
def test_slots_share_the_machines_of_a_cluster(machines, wanted, slots):
    assert plan_slots(machines, wanted) == slots
