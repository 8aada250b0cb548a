import sys
import time
from pathlib import Path

import acts
import pytest

from keras_inat.settings.loading import load_config
from keras_inat.sweep import executors
from keras_inat.sweep.executors import ProcessSlot, Slot, open_slots, wait_for
from keras_inat.sweep.trial import Task
from keras_inat.workers import list_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and pinned as Linux does")


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch):
    monkeypatch.setattr(executors, "PAUSE_SECONDS", 0.0)
    executors._start_forkserver()


def run(act, cores=(), gpu=None, timeout_seconds=None, seconds=60):
    slot = ProcessSlot(cores, gpu, timeout_seconds, act)
    try:
        slot.start(Task(load_config(), "0", {}, Path("trials/0").absolute()))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            wait_for([slot], 0.1)
            if outcome := slot.poll():
                assert slot.task is None
                return outcome
    finally:
        slot.end()
    raise AssertionError("no outcome")


def test_a_task_has_its_share_of_the_machine_and_a_log():
    core = list_cores()[-1]
    assert run(acts.finish, [core], 3).result == {"cores": [core], "gpu": "3"}
    assert Path("trials/0/log.txt").read_text() == "a line for the log\n"


def test_a_process_that_is_killed_is_started_once_more():
    assert run(acts.die_once).result == {"attempts": 2}


def test_a_process_that_is_killed_twice_has_failed():
    outcome = run(acts.die)
    assert outcome.failure == "MemoryError: its process was killed twice (SIGKILL), as it happens where memory runs out"
    assert Path("trials/0/attempts").read_text() == "xx"


def test_a_process_whose_forkserver_was_killed_too_is_started_once_more():
    outcome = run(acts.die_with_forkserver)
    assert outcome.result == {"attempts": 2}


def test_a_forkserver_that_is_not_dead_yet_is_asked_again(monkeypatch):
    start, refusals = executors.multiprocessing.context.ForkServerProcess.start, [ConnectionRefusedError, EOFError]

    def refuse(process):
        if refusals:
            raise refusals.pop()
        start(process)

    monkeypatch.setattr(executors.multiprocessing.context.ForkServerProcess, "start", refuse)
    assert run(acts.die_once).result == {"attempts": 2}
    assert not refusals


def test_no_room_for_a_log_is_no_fault_of_the_task():
    Path("trials").write_text("in the way")
    assert isinstance(run(acts.finish).mistake, OSError)


def test_what_is_interrupted_while_it_starts_can_be_ended(monkeypatch):
    slot = ProcessSlot([], None, None, acts.finish)
    monkeypatch.setattr(slot._context.Process, "start", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        slot.start(Task(load_config(), "0", {}, Path("trials/0").absolute()))
    slot.terminate()
    slot.end()


def test_only_what_runs_in_this_process_is_not_waited_for(monkeypatch):
    waits = []
    monkeypatch.setattr(executors, "wait", lambda sentinels, seconds: waits.append((sentinels, seconds)))
    idle, busy = ProcessSlot([], None, None, acts.finish), Slot()
    busy.task = Task(load_config(), "0", {}, Path("trials/0"))
    wait_for([idle], 0.5)  # an oracle that has nothing to propose yet is not asked at once again
    wait_for([Slot()], 0.5)
    assert waits == [([], 0.5)] * 2
    wait_for([busy], 0.5)
    assert len(waits) == 2


def test_a_hung_process_is_ended():
    began = time.monotonic()
    outcome = run(acts.hang, timeout_seconds=0.5)
    assert outcome.failure.startswith("TimeoutError: ended after 0.5 s")
    assert time.monotonic() - began < 30


def test_a_mistake_in_the_program_comes_with_its_traceback():
    mistake = run(acts.err).mistake
    assert isinstance(mistake, KeyError)
    assert 'raise KeyError("missing")' in mistake.__notes__[0]
    assert str(run(acts.leave).mistake) == "a trial's process ended with exit code 3"


@pytest.mark.parametrize(
    ("num_workers", "cores", "gpus", "shares"),
    [
        (1, [0, 1, 2], 0, [([], None)]),
        (2, [0, 1, 2], 0, [([0, 2], None), ([1], None)]),
        (3, [4, 5], 0, [([4], None), ([5], None), ([], None)]),
        (1, [0, 1], 2, [([], None)]),
        (2, [0, 1], 1, [([], None), ([], None)]),
        (3, [0, 1], 2, [([], 0), ([], 1), ([], 0)]),
    ],
)
def test_cores_and_gpus_are_shared_out(monkeypatch, num_workers, cores, gpus, shares):
    monkeypatch.setattr(executors, "list_cores", lambda: cores)
    monkeypatch.setattr(executors, "count_gpus", lambda: gpus)
    assert [(slot._cores, slot._gpu) for slot in open_slots(num_workers, None)] == shares


def test_without_workers_tasks_run_here():
    (slot,) = open_slots(0, None)
    assert type(slot) is Slot
