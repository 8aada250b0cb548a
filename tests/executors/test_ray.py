"""Sweeps and seeds on a real Ray cluster of two machines, which are processes of this one."""

import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from keras_inat.commands.seeds import train_seeds
from keras_inat.search import runner
from keras_inat.store.ledger import read_ledger
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import Result

pytest.importorskip("ray", reason="Ray is not installed: pip install 'keras-inat[cluster]'")
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Starts two machines with one core and a cache each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for name in ("first", "second"):
        cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": str(tmp_path_factory.mktemp(name))})
    yield cluster
    cluster.shutdown()


SPACE = "sweep.space={model.filters: [2, 4], model.activation: [relu, gelu]}"


def test_a_sweep_survives_the_loss_of_a_machine(make_config, cluster):
    folder = Path("runs/sweep/s/trials")

    def remove_machine():
        end = time.monotonic() + 300
        while not list(folder.glob("*/metrics.jsonl")) and time.monotonic() < end:
            time.sleep(0.05)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

    remover = threading.Thread(target=remove_machine)
    remover.start()
    settings = ["NAME=s", "TRIALS=2", "sweep.epochs=2", f"CLUSTER={cluster.address}", SPACE]
    trials = runner.search(make_config(*settings))
    remover.join()
    assert [trial.status for trial in trials] == ["completed"] * 2
    assert len({json.dumps(trial.settings) for trial in trials}) == 2
    for trial in trials:
        rows = [json.loads(line) for line in (folder / trial.id / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2]
        assert trial.score == max(row["val_accuracy"] for row in rows)
        assert (folder / trial.id / "log.txt").read_text().count("epoch 2/2") == 1
        assert not (folder / trial.id / "checkpoint.npz").exists()
    assert runner.search(make_config(*settings)) == trials


def test_seeds_on_a_cluster_are_those_of_one_machine(make_config, cluster, capsys):
    settings = ["SEEDS=2", "run.deterministic=true"]
    ((first, second),) = train_seeds({"": make_config(*settings, f"CLUSTER={cluster.address}")}, "train-best")
    ledger = read_ledger("runs", [first, second])
    assert sorted(entry.run for entry in ledger.entries) == sorted(
        f"train-best/{run.path.name}" for run in (first, second)
    )
    assert ledger.faults == []
    printed = capsys.readouterr().out
    assert "seed 1 epoch 2/2  loss" in printed
    assert re.search(rf"^seed 1: validation .*    {second.path}$", printed, re.MULTILINE)
    assert "test accuracy, mean of 2 seeds" in printed
    result = Result.read(first.result)
    assert (result.config.run.directory, result.config.run.seed) == ("runs", 0)
    assert not first.checkpoint.exists()
    assert first.model.exists()
    # Nothing is trained or evaluated again.
    train_seeds({"": make_config(*settings)}, "train-best")
    assert len(read_ledger("runs").entries) == 2
    assert "already done" in capsys.readouterr().out
    # On one machine the results are the same.
    ((here,),) = train_seeds({"": make_config("run.deterministic=true", "run.directory=here")}, "train-best")
    assert Result.read(here.result).val_accuracy == result.val_accuracy
    probabilities = Predictions.read(first.predictions).probabilities
    # A slot has one core, this process has all. The sums have another order.
    assert np.abs(Predictions.read(here.predictions).probabilities - probabilities).max() < 1e-5
