import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import acts
import pytest

from keras_inat.search import slots as slots_module
from keras_inat.search.slots import ProcessSlot, Slot, open_slots, wait_for
from keras_inat.settings.loading import load_config
from keras_inat.store.records import Trial
from keras_inat.workers import list_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and pinned as Linux does")


CONFIG = load_config(["NAME=s"])
TRIAL = Trial(id="0", values={}, settings={})
FOLDER = Path("runs/sweep/s/trials/0")


@pytest.fixture(scope="module")
def server():
    """Starts a forkserver that has not imported TensorFlow."""
    server = forkserver.ForkServer()
    server.set_forkserver_preload(["acts"])
    yield server
    server._stop()


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch, server):
    monkeypatch.setattr(forkserver, "ensure_running", server.ensure_running)
    monkeypatch.setattr(forkserver, "connect_to_new_process", server.connect_to_new_process)
    monkeypatch.setattr(slots_module, "PAUSE_SECONDS", 0.0)


def run(act, cores=(), gpu=None, timeout_seconds=None, seconds=60):
    slot = ProcessSlot(cores, gpu, timeout_seconds, act)
    try:
        slot.start(CONFIG, TRIAL)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            wait_for([slot], 0.1)
            if outcome := slot.poll():
                assert slot.trial is None
                return outcome
    finally:
        slot.end()
    raise AssertionError("no outcome")


def test_a_trial_has_its_cores_its_gpu_and_a_log():
    core = list_cores()[-1]
    assert run(acts.finish, [core], 3) == "finished"
    assert (FOLDER / "log.txt").read_text() == f"cores [{core}], GPU 3\n"


def test_a_process_that_is_killed_is_started_once_more():
    assert run(acts.die_once) == "finished"
    assert (FOLDER / "attempts").read_text() == "xx"


def test_a_process_that_is_killed_twice_has_failed():
    outcome = run(acts.die)
    assert outcome == "MemoryError: its process was killed twice (SIGKILL), as happens when memory runs out"
    assert (FOLDER / "attempts").read_text() == "xx"


def test_a_process_whose_forkserver_was_killed_too_is_started_once_more():
    assert run(acts.die_with_forkserver) == "finished"
    assert (FOLDER / "attempts").read_text() == "xx"


def test_a_dying_forkserver_is_asked_again(monkeypatch):
    start = slots_module.multiprocessing.context.ForkServerProcess.start
    refusals = [ConnectionRefusedError, EOFError]

    def refuse(process):
        if refusals:
            raise refusals.pop()
        start(process)

    monkeypatch.setattr(slots_module.multiprocessing.context.ForkServerProcess, "start", refuse)
    assert run(acts.die_once) == "finished"
    assert not refusals


def test_a_log_that_cannot_be_written_is_not_a_failure_of_the_trial():
    Path("runs").write_text("not a folder")
    assert isinstance(run(acts.finish), OSError)


def test_a_process_that_is_interrupted_while_it_starts_can_be_ended(monkeypatch):
    slot = ProcessSlot([], None, None, acts.finish)
    monkeypatch.setattr(slots_module.CONTEXT.Process, "start", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        slot.start(CONFIG, TRIAL)
    slot.terminate()
    slot.end()


def test_only_a_trial_in_this_process_is_not_waited_for(monkeypatch):
    waits = []
    monkeypatch.setattr(slots_module, "wait", lambda sentinels, seconds: waits.append((sentinels, seconds)))
    idle = ProcessSlot([], None, None, acts.finish)
    busy = Slot()
    busy.trial = TRIAL
    wait_for([idle], 0.5)  # an idle oracle is not asked again at once
    wait_for([Slot()], 0.5)
    assert waits == [([], 0.5)] * 2
    wait_for([busy], 0.5)
    assert len(waits) == 2


def test_a_process_that_hangs_is_ended():
    began = time.monotonic()
    outcome = run(acts.hang, timeout_seconds=0.5)
    assert outcome.startswith("TimeoutError: ended after 0.5 s")
    assert time.monotonic() - began < 30


def test_a_bug_comes_with_its_traceback():
    error = run(acts.err)
    assert isinstance(error, KeyError)
    assert 'raise KeyError("missing")' in error.__notes__[0]
    assert str(run(acts.leave)) == "a trial's process ended with exit code 3"


@pytest.mark.parametrize(
    ("num_workers", "cores", "gpus", "expected"),
    [
        (1, [0, 1, 2], 0, [([], None)]),
        (2, [0, 1, 2], 0, [([0, 2], None), ([1], None)]),
        (3, [4, 5], 0, [([4], None), ([5], None), ([], None)]),
        (1, [0, 1], 2, [([], None)]),
        (2, [0, 1], 1, [([], None), ([], None)]),
        (3, [0, 1], 2, [([], 0), ([], 1), ([], 0)]),
    ],
)
def test_slots_divide_the_cores_and_gpus(monkeypatch, num_workers, cores, gpus, expected):
    monkeypatch.setattr(slots_module, "list_cores", lambda: cores)
    monkeypatch.setattr("keras_inat.training.devices.count_gpus", lambda: gpus)
    assert [(slot.cores, slot.gpu) for slot in open_slots(num_workers, None)] == expected


def test_without_workers_trials_run_in_this_process():
    (slot,) = open_slots(0, None)
    assert type(slot) is Slot
