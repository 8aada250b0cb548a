"""A chief and its workers: threads of this process around a fake training, and processes."""

import multiprocessing
import socket
import sys
import threading
import time
from pathlib import Path

import acts
import pytest

from keras_inat.data.packs import load_pack
from keras_inat.errors import UserError
from keras_inat.settings.loading import format_yaml
from keras_inat.store.records import Trial
from keras_inat.store.sweeps import locate_sweep
from keras_inat.sweep import cluster, runner
from keras_inat.sweep.cluster import run_chief, run_worker
from keras_inat.sweep.oracle import Bayesian
from keras_inat.sweep.records import Records

SPACE = "sweep.space={model.filters: [2, 4, 6], model.activation: [relu, gelu], model.dropout: {min: 0, max: 0.5}}"


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def sweep_config(make_config, free_port, monkeypatch):
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(cluster, "LINGER_SECONDS", 0.5)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    small = ["NAME=s", "TRIALS=4", "sweep.epochs=1", "sweep.workers=0", SPACE, f"CHIEF=127.0.0.1:{free_port}"]
    return lambda *arguments: make_config(*small, *arguments)


def in_thread(function, *arguments):
    answer = []

    def call():
        try:
            answer.append(function(*arguments))
        except BaseException as error:
            answer.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread, answer


def test_a_worker_trains_what_the_chief_proposes(sweep_config, fake_fit, monkeypatch):
    begun = []
    begin = Records.begin

    def note(self, trial_id, values):
        begun.append((trial_id, {name: (type(value), value) for name, value in values.items()}))
        return begin(self, trial_id, values)

    monkeypatch.setattr(Records, "begin", note)
    chief, answer = in_thread(run_chief, sweep_config())
    trials = run_worker(sweep_config())
    chief.join(30)
    assert [trial.status for trial in trials] == ["completed"] * 4
    assert answer == [trials]
    assert len({tuple(trial.settings.values()) for trial in trials}) == 4
    # Values keep their types on their way to the worker.
    assert all([values for number, values in begun if number == trial_id] == [sent] * 2 for trial_id, sent in begun)
    alone = runner.search(sweep_config("NAME=alone"))
    assert [trial.settings for trial in trials] == [trial.settings for trial in alone]
    assert run_chief(sweep_config()) == trials  # the chief of an ended sweep returns at once


def test_a_worker_with_another_name_or_folder_is_refused(sweep_config, fake_fit, monkeypatch):
    monkeypatch.setattr(cluster, "APPEAR_SECONDS", 0.2)
    chief, _ = in_thread(run_chief, sweep_config("TRIALS=1"))
    with pytest.raises(UserError, match="the chief runs another sweep: give NAME=s"):
        run_worker(sweep_config("NAME=other"))
    with pytest.raises(UserError, match=r"trial 0 is not in elsewhere/sweep/s: give the chief's NAME"):
        run_worker(sweep_config("run.directory=elsewhere"))
    assert not list(Path("elsewhere/sweep/s/trials").glob("*"))
    monkeypatch.setattr(cluster, "LEASE_SECONDS", 0.1)  # its trial goes to the next worker
    settings = {"model.filters": 99}
    old = Trial(id="0", values=settings, settings=settings, status="completed", score=0.9)
    records = Records(sweep_config("run.directory=old"), load_pack(sweep_config()).manifest.hash)
    with records.hold():
        records.write_trial(old)
    with pytest.raises(UserError, match=r"trial 0 differs from the one in old/sweep/s"):
        run_worker(sweep_config("run.directory=old"))
    assert [trial.status for trial in run_worker(sweep_config("TRIALS=1"))] == ["completed"]
    chief.join(30)


def test_an_external_failure_ends_the_chief_with_its_error(sweep_config, fake_fit, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Bayesian, "populate_space", fail)
    chief, answer = in_thread(run_chief, sweep_config())
    with pytest.raises(UserError, match="does not answer"):
        run_worker(sweep_config())
    chief.join(30)
    assert isinstance(answer[0], OSError)


def test_an_oracle_that_fails_ends_the_chief(sweep_config, fake_fit, monkeypatch):
    monkeypatch.setattr(Bayesian, "populate_space", lambda *_: 1 / 0)
    chief, answer = in_thread(run_chief, sweep_config())
    with pytest.raises(UserError, match="does not answer"):
        run_worker(sweep_config())
    chief.join(30)
    assert isinstance(answer[0].__cause__, ZeroDivisionError)


def test_a_worker_without_a_chief_is_an_error(sweep_config, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 1)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+ does not answer .*make sweep-chief"):
        run_worker(sweep_config())


def test_a_taken_address_is_an_error_and_an_open_one_a_warning(sweep_config, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="is not available"):
            run_chief(sweep_config(f"CHIEF=127.0.0.1:{taken.getsockname()[1]}"))
    assert "warning" not in capsys.readouterr().err
    with pytest.raises(UserError, match="is not available"):
        run_chief(sweep_config("CHIEF=192.0.2.1:9"))
    assert "warning: anyone who reaches 192.0.2.1:9 can take part" in capsys.readouterr().err


def wait_until(condition, seconds=200):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked as on Linux")
def test_killing_a_worker_and_then_the_chief_loses_nothing(sweep_config, shared_forkserver):
    """Both are killed while they work. Started again, they end all trials, each with the score of its own epochs."""
    config = sweep_config("TRIALS=2", "sweep.epochs=2", "sweep.workers=1")
    Path("c.yaml").write_text(format_yaml(config.model_dump(mode="json")))
    processes = []

    def start(command):
        processes.append(multiprocessing.get_context("forkserver").Process(target=acts.run_command, args=[command]))
        processes[-1].start()
        return processes[-1]

    folder = locate_sweep(config)
    try:
        chief = start("sweep-chief")
        worker = start("sweep-worker")
        wait_until(lambda: list(folder.trials.glob("*/metrics.jsonl")))
        worker.kill()
        time.sleep(0.5)
        chief.kill()
        chief.join()
        chief = start("sweep-chief")
        worker = start("sweep-worker")
        wait_until(lambda: not chief.is_alive() and not worker.is_alive())
        assert (chief.exitcode, worker.exitcode) == (0, 0), Path("sweep-chief.log").read_text()
    finally:
        for process in processes:
            process.kill()
            process.join()
    trials = folder.read_trials()
    assert [trial.status for trial in trials] == ["completed"] * 2
    for trial in trials:
        epochs = folder.trial_run(trial.id).read_epochs()
        assert [epoch.epoch for epoch in epochs] == [1, 2]
        assert trial.score == max(epoch.val_accuracy for epoch in epochs)
