import sys
import time
from pathlib import Path

import pytest

from keras_inat.executors import local
from keras_inat.executors.local import LocalExecutor, ProcessSlot, open_slots
from keras_inat.executors.tasks import Task
from keras_inat.settings.loading import load_config
from keras_inat.store.runs import RunFolder
from keras_inat.workers import list_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and pinned as Linux does")


CONFIG = load_config(["NAME=s"])
FOLDER = Path("runs/task")


def make_task(act):
    return Task(f"acts:{act}", CONFIG, None, RunFolder(FOLDER, "sweep"))


@pytest.fixture(autouse=True)
def _quick_starts(quick_starts):
    """Every test uses the forkserver of the tests."""


def run(act, cores=(), environment=None, timeout_seconds=None, seconds=60):
    slot = ProcessSlot(cores, environment or {}, timeout_seconds)
    executor = LocalExecutor([slot], lambda task, value: 10 * value)
    task = make_task(act)
    try:
        assert executor.num_free == 1
        executor.start(task)
        assert executor.num_free == 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for ended, outcome in executor.wait(0.1):
                assert ended is task
                assert executor.num_free == 1
                return outcome
    finally:
        executor.close()
    raise AssertionError("no outcome")


def test_a_task_has_its_cores_its_gpu_and_a_log():
    core = list_cores()[-1]
    assert run("finish", [core], {"CUDA_VISIBLE_DEVICES": "3"}) == "finished"
    assert (FOLDER / "log.txt").read_text() == f"cores [{core}], GPU 3\n"


def test_a_process_that_is_killed_is_started_once_more():
    assert run("die_once") == "finished"
    assert (FOLDER / "attempts").read_text() == "xx"


def test_a_process_that_is_killed_twice_has_failed():
    outcome = run("die")
    assert outcome == "MemoryError: its process was killed twice (SIGKILL), as happens when memory runs out"
    assert (FOLDER / "attempts").read_text() == "xx"


def test_a_process_whose_forkserver_was_killed_too_is_started_once_more():
    assert run("die_with_forkserver") == "finished"
    assert (FOLDER / "attempts").read_text() == "xx"


def test_a_dying_forkserver_is_asked_again(monkeypatch):
    start = local.multiprocessing.context.ForkServerProcess.start
    refusals = [ConnectionRefusedError, EOFError]

    def refuse(process):
        if refusals:
            raise refusals.pop()
        start(process)

    monkeypatch.setattr(local.multiprocessing.context.ForkServerProcess, "start", refuse)
    assert run("die_once") == "finished"
    assert not refusals


def test_questions_are_answered_also_after_a_kill():
    assert run("inquire") == "10 20"
    assert run("inquire_and_die") == 30


def test_a_log_that_cannot_be_written_is_not_a_failure_of_the_trial():
    Path("runs").write_text("not a folder")
    assert isinstance(run("finish"), OSError)


def test_a_process_that_is_interrupted_while_it_starts_can_be_ended(monkeypatch):
    slot = ProcessSlot()
    monkeypatch.setattr(local.CONTEXT.Process, "start", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        slot.start(make_task("finish"))
    slot.terminate()
    slot.end()


def test_without_slots_tasks_run_in_this_process(capsys):
    executor = LocalExecutor(open_slots(0), lambda task, value: 10 * value)
    task = make_task("inquire")
    executor.start(task)
    assert executor.num_free == 0
    assert executor.wait(100) == [(task, "10 20")]  # it has ended: there is nothing to wait for
    assert executor.num_free == 1
    assert executor.wait(0) == []


def test_a_process_that_hangs_is_ended():
    began = time.monotonic()
    outcome = run("hang", timeout_seconds=0.5)
    assert outcome.startswith("TimeoutError: ended after 0.5 s")
    assert time.monotonic() - began < 30


def test_a_bug_comes_with_its_traceback():
    error = run("err")
    assert isinstance(error, KeyError)
    assert 'raise KeyError("missing")' in error.__notes__[0]
    assert str(run("err_strangely")) == "StrangeError: odd"
    assert str(run("leave")) == "the process of a training ended with exit code 3"


@pytest.mark.parametrize(
    ("num_workers", "cores", "gpus", "expected"),
    [
        (1, [0, 1, 2], 0, [((), None)]),
        (2, [0, 1, 2], 0, [([0, 2], None), ([1], None)]),
        (3, [4, 5], 0, [([4], None), ([5], None), ([], None)]),
        (1, [0, 1], 2, [((), None)]),
        (2, [0, 1], 1, [([], None), ([], None)]),
        (3, [0, 1], 2, [([], "0"), ([], "1"), ([], "0")]),
    ],
)
def test_slots_divide_the_cores_and_gpus(monkeypatch, num_workers, cores, gpus, expected):
    monkeypatch.setattr(local, "list_cores", lambda: cores)
    monkeypatch.setattr("keras_inat.training.devices.count_gpus", lambda: gpus)
    slots = open_slots(num_workers)
    assert [(slot.cores, slot.environment.get("CUDA_VISIBLE_DEVICES")) for slot in slots] == expected


def test_slots_use_the_gpus_that_the_user_allows(monkeypatch):
    monkeypatch.setattr("keras_inat.training.devices.count_gpus", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    given = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in open_slots(2)]
    assert given == ["5", "7"]
