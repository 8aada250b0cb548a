"""A chief and its workers, as threads of this process around a made-up training, and as processes."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_inat.data.packs import load_pack
from keras_inat.errors import UserError
from keras_inat.files import read_jsonl
from keras_inat.settings.loading import format_yaml
from keras_inat.sweep import cluster, runner
from keras_inat.sweep import trial as trials_module
from keras_inat.sweep.cluster import BEAT, LEASE_SECONDS, Leases, lead, work
from keras_inat.sweep.oracle import Bayesian, build_oracle
from keras_inat.sweep.records import Records, Trial
from keras_inat.sweep.space import build_hyperparameters
from keras_inat.training.session import TrainedModel

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


@pytest.fixture
def fake_fit(monkeypatch):
    def fit(config, run, label="", group=None, title=None, stop=None):
        result = {"val_accuracy": config.model.filters / 10, "epochs": 1, "parameters": 1, "macs": 2, "data": {}}
        return TrainedModel(None, None, result)

    monkeypatch.setattr(trials_module, "fit", fit)


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
    begun, begin = [], Records.begin

    def note(self, trial_id, values):
        begun.append((trial_id, {name: (type(value), value) for name, value in values.items()}))
        return begin(self, trial_id, values)

    monkeypatch.setattr(Records, "begin", note)
    chief, answer = in_thread(lead, sweep_config())
    trials = work(sweep_config())
    chief.join(30)
    assert [trial.status for trial in trials] == ["completed"] * 4
    assert answer == [trials]
    assert len({tuple(trial.settings.values()) for trial in trials}) == 4
    # What goes over the wire arrives with the values and kinds that it had.
    assert all([values for number, values in begun if number == trial_id] == [sent] * 2 for trial_id, sent in begun)
    alone = runner.search(sweep_config("NAME=alone"))
    assert [trial.settings for trial in trials] == [trial.settings for trial in alone]
    assert lead(sweep_config()) == trials  # there is nothing left to wait for


def test_a_worker_with_another_name_or_folder_is_told(sweep_config, fake_fit, monkeypatch):
    monkeypatch.setattr(cluster, "SHOW_SECONDS", 0.2)
    chief, _ = in_thread(lead, sweep_config("TRIALS=1"))
    with pytest.raises(UserError, match="the chief is at work on another sweep: give NAME=s"):
        work(sweep_config("NAME=other"))
    with pytest.raises(UserError, match=r"trial 0 is not in elsewhere/sweep/s: give the chief's NAME"):
        work(sweep_config("run.directory=elsewhere"))
    assert not list(Path("elsewhere/sweep/s/trials").glob("*"))
    monkeypatch.setattr(cluster, "LEASE_SECONDS", 0.1)  # its trial goes to the next
    left_over = Trial("0", {"model.filters": 99}, {"model.filters": 99}, status="completed", score=0.9)
    Records(sweep_config("run.directory=old"), load_pack(sweep_config()).hash).write_trial(left_over)
    with pytest.raises(UserError, match=r"trial 0 is another one in old/sweep/s"):
        work(sweep_config("run.directory=old"))
    assert [trial.status for trial in work(sweep_config("TRIALS=1"))] == ["completed"]
    chief.join(30)


def test_what_the_user_can_mend_ends_the_chief_in_a_line(sweep_config, fake_fit, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Bayesian, "populate_space", fail)
    chief, answer = in_thread(lead, sweep_config())
    with pytest.raises(UserError, match="does not answer"):
        work(sweep_config())
    chief.join(30)
    assert isinstance(answer[0], OSError)


def test_an_oracle_that_fails_ends_the_chief(sweep_config, fake_fit, monkeypatch):
    monkeypatch.setattr(Bayesian, "populate_space", lambda *_: 1 / 0)
    chief, answer = in_thread(lead, sweep_config())
    with pytest.raises(UserError, match="does not answer"):
        work(sweep_config())
    chief.join(30)
    assert isinstance(answer[0].__cause__, ZeroDivisionError)


def test_a_worker_without_a_chief_says_so(sweep_config, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 1)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+ does not answer .*make sweep-chief"):
        work(sweep_config())


def test_an_address_that_is_taken_or_open_to_others_is_said(sweep_config, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="cannot be had"):
            lead(sweep_config(f"CHIEF=127.0.0.1:{taken.getsockname()[1]}"))
    assert "warning" not in capsys.readouterr().err
    with pytest.raises(UserError, match="cannot be had"):
        lead(sweep_config("CHIEF=192.0.2.1:9"))
    assert "whoever reaches 192.0.2.1:9 can take part" in capsys.readouterr().err


@pytest.fixture
def leased(sweep_config):
    """An oracle with a trial at work, its lease, and a clock that is set by hand."""
    records = Records(sweep_config(), "hash")
    oracle = build_oracle(records, build_hyperparameters(records.config))
    trial = oracle.create_trial("worker")
    record = Trial(trial.trial_id, dict(trial.hyperparameters.values), {})
    records.write_trial(record)
    time = [0.0]
    return records, oracle, record, Leases(records, oracle, lambda: time[0]), time


def test_the_trial_of_a_silent_worker_goes_to_another(leased):
    records, oracle, record, leases, time = leased
    beat = records.trial_folder(record.id) / BEAT
    beat.touch()
    for time[0] in (0, LEASE_SECONDS - 1, 2 * LEASE_SECONDS - 2):
        os.utime(beat, (time[0], time[0]))
        leases.check()
    assert oracle.list_ongoing() == [record.id]
    time[0] += LEASE_SECONDS + 1
    leases.check()
    assert oracle.list_ongoing() == []
    again = oracle.create_trial("another")
    assert (again.trial_id, again.hyperparameters.values) == (record.id, record.values)


def test_what_a_worker_put_on_record_before_it_died_counts(leased):
    records, oracle, record, leases, time = leased
    record.status, record.score = "completed", 0.7
    records.write_trial(record)
    for time[0] in (0, LEASE_SECONDS + 1):
        leases.check()
    assert oracle.list_ongoing() == []
    assert oracle.get_trial(record.id).score == 0.7


def test_a_chief_that_starts_again_leaves_workers_their_trials(leased):
    records, _, record, _, _ = leased
    oracle = build_oracle(records, build_hyperparameters(records.config))
    oracle.resume_running()
    assert oracle.list_ongoing() == [record.id]
    assert oracle.create_trial("another").trial_id != record.id


def wait_until(condition, seconds=400):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_killing_a_worker_then_the_chief_loses_nothing(sweep_config):
    """Both are killed at work; started again they end all trials, each with the score of its own epochs."""
    Path("c.yaml").write_text(
        format_yaml(sweep_config("TRIALS=2", "sweep.epochs=2", "sweep.workers=1").model_dump(mode="json"))
    )
    code = (
        "import sys; from keras_inat.sweep import cluster; cluster.LEASE_SECONDS, cluster.BEAT_SECONDS = 3.0, 0.5\n"
        "from keras_inat.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    processes = []

    def start(command):
        with open(f"{command}.log", "a") as log:
            processes.append(
                subprocess.Popen([sys.executable, "-c", code, command, "CONFIG=c.yaml"], stdout=log, stderr=log)
            )
        return processes[-1]

    folder = Path("runs/sweep/s/trials")
    try:
        chief, worker = start("sweep-chief"), start("sweep-worker")
        wait_until(lambda: list(folder.glob("*/metrics.jsonl")))
        worker.kill()
        time.sleep(0.5)
        chief.kill()
        chief.wait()
        chief, worker = start("sweep-chief"), start("sweep-worker")
        wait_until(lambda: chief.poll() is not None and worker.poll() is not None)
        assert (chief.returncode, worker.returncode) == (0, 0), Path("sweep-chief.log").read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for number in range(2):
        rows = read_jsonl(folder / str(number) / "metrics.jsonl")
        trial = json.loads((folder / str(number) / "trial.json").read_text())
        assert [row["epoch"] for row in rows] == [1, 2]
        assert (trial["status"], trial["score"]) == ("completed", max(row["val_accuracy"] for row in rows))
