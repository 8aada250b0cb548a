import os

import pytest

from keras_inat.settings.loading import load_config
from keras_inat.sweep.cluster import HEARTBEAT, LEASE_SECONDS, Leases
from keras_inat.sweep.oracle import build_oracle
from keras_inat.sweep.records import Records

SPACE = "sweep.space={model.filters: [2, 4, 6], model.activation: [relu, gelu]}"


@pytest.fixture
def leased():
    """Returns an oracle with an ongoing trial, its lease, and a clock that is set by hand."""
    records = Records(load_config(["NAME=s", "TRIALS=4", SPACE]), "hash")
    oracle = build_oracle(records.config)
    proposed = oracle.create_trial("worker")
    trial = records.begin(proposed.trial_id, proposed.hyperparameters.values)
    time = [0.0]
    return records, oracle, trial, Leases(records, oracle, lambda: time[0]), time


def test_the_trial_of_a_silent_worker_goes_to_another(leased):
    records, oracle, trial, leases, time = leased
    heartbeat = records.folder.trial_run(trial.id).path / HEARTBEAT
    heartbeat.touch()
    for time[0] in (0, LEASE_SECONDS - 1, 2 * LEASE_SECONDS - 2):
        os.utime(heartbeat, (time[0], time[0]))
        leases.check()
    assert oracle.list_ongoing() == [trial.id]
    time[0] += LEASE_SECONDS + 1
    leases.check()
    assert oracle.list_ongoing() == []
    again = oracle.create_trial("another")
    assert (again.trial_id, again.hyperparameters.values) == (trial.id, trial.values)


def test_a_trial_that_a_worker_recorded_before_it_died_counts(leased):
    records, oracle, trial, leases, time = leased
    records.write_trial(trial.model_copy(update={"status": "completed", "score": 0.7}))
    for time[0] in (0, LEASE_SECONDS + 1):
        leases.check()
    assert oracle.list_ongoing() == []
    assert oracle.get_trial(trial.id).score == 0.7


def test_a_restarted_chief_leaves_the_workers_their_trials(leased):
    records, _, trial, _, _ = leased
    oracle = build_oracle(records.config)
    oracle.adopt_running()
    assert oracle.list_ongoing() == [trial.id]
    assert oracle.create_trial("another").trial_id != trial.id
