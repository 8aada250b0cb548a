"""A sweep of many trials, none of which trains anything: what a trial takes from the machine, it gives back."""

import gc
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from keras_inat.executors.local import LocalExecutor, ProcessSlot
from keras_inat.executors.tasks import Task
from keras_inat.search import runner
from keras_inat.settings.loading import load_config
from keras_inat.store.runs import RunFolder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

KIB_PER_TRIAL = 64  # a record of a trial, with its proposal, has a few


def measure():
    """Returns the numbers of descriptors, threads and temporary files, and the resident memory in KiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    counts = [len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir(tempfile.gettempdir()))]
    return counts, pages * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.fixture(autouse=True)
def empty_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


def check_growth(before, after, num_trials):
    assert after[0] == before[0]
    assert after[1] - before[1] <= KIB_PER_TRIAL * num_trials + 4096  # the memory of Python grows in arenas


def test_trials_of_a_sweep_leave_no_descriptors_threads_and_files(make_config, fake_fit, request):
    count = request.config.getoption("--tries") or 30
    space = "sweep.space={training.learning_rate: {min: 1e-5, max: 1e-1, log: true}}"
    settings = (space, "NAME=long", "sweep.epochs=1", "sweep.workers=0", "sweep.oracle=random", "sweep.prune=none")
    runner.search(make_config(*settings, "TRIALS=5"))
    before = measure()
    trials = runner.search(make_config(*settings, f"TRIALS={count + 5}"))
    assert len(trials) == count + 5
    print(f"{count} trials: {before} -> {measure()}")
    check_growth(before, measure(), count)


def test_processes_of_trials_leave_no_descriptors_threads_and_files(request, shared_forkserver):
    count = request.config.getoption("--tries") or 30
    executor = LocalExecutor([ProcessSlot()], lambda *_: None)
    task = Task("keras_inat.executors.node:answer_at_once", load_config([]), None, RunFolder(Path("runs/t"), "sweep"))

    def run(number):
        for _ in range(number):
            executor.start(task)
            while not (ended := executor.wait(1)):
                pass
            assert not isinstance(ended[0][1], Exception), ended

    run(3)
    before = measure()
    run(count)
    print(f"{count} processes: {before} -> {measure()}")
    check_growth(before, measure(), 0)
    executor.close()
