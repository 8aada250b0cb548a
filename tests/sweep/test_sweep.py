import csv
import json
from pathlib import Path

import pytest

from keras_inat.config import load_config
from keras_inat.errors import UserError
from keras_inat.runs import hold_lock
from keras_inat.sweep import tuner
from keras_inat.sweep.oracle import RecordedOracle
from keras_inat.sweep.records import Records, Trial, find_best, find_best_config
from keras_inat.sweep.space import build_hyperparameters
from keras_inat.training.loop import Fit

SPACE = (
    "sweep.space={model.filters: [2, 4, 6, 8], model.activation: [relu, gelu, silu], model.batch_norm: [true, false]}"
)
FOLDER = Path("runs/sweep/s")


@pytest.fixture
def sweep_config(make_config):
    return lambda *arguments: make_config("NAME=s", "TRIALS=5", "sweep.epochs=1", SPACE, *arguments)


@pytest.fixture
def fake_fit(monkeypatch):
    """Scores a configuration by a formula instead of a training; notes the calls."""
    calls = []

    def fit(config, run, label="", group=None, title=None):
        calls.append(config.model)
        score = config.model.filters / 10 + (config.model.activation == "gelu") * 0.1
        result = {"val_accuracy": score, "epochs": config.training.epochs, "parameters": 1, "macs": 2}
        return Fit(None, None, result)

    monkeypatch.setattr(tuner, "fit", fit)
    return calls


def table():
    with open(FOLDER / "trials.csv") as file:
        return list(csv.DictReader(file))


def test_the_first_trial_is_the_configuration_itself(sweep_config, fake_fit):
    (trial,) = tuner.search(sweep_config("TRIALS=1", "model.filters=6", "model.activation=silu"))
    assert trial.settings == {"model.filters": 6, "model.activation": "silu", "model.batch_norm": True}


def test_a_real_sweep_leaves_its_records(sweep_config):
    trials = tuner.search(sweep_config("TRIALS=2"))
    assert [trial.status for trial in trials] == ["completed", "completed"]
    for row in table():
        metrics = [
            json.loads(line) for line in (FOLDER / "trials" / row["id"] / "metrics.jsonl").read_text().splitlines()
        ]
        assert float(row["score"]) == metrics[0]["val_accuracy"]
        assert len(metrics) == int(row["epochs"]) == 1
        assert int(row["parameters"]) > 0
    best = max(table(), key=lambda row: float(row["score"]))
    config = load_config([], FOLDER / "best.yaml")
    assert str(config.model.filters) == best["model.filters"]
    assert config.training.epochs == 2  # the full training's, not the trials'
    assert config.run.name == "s"
    assert not list(FOLDER.glob("trials/*/best.keras"))
    assert not Path("runs/test_ledger.jsonl").exists()


def test_no_configuration_twice_and_the_space_may_run_out(sweep_config, fake_fit):
    space = "{model.filters: [2, 8], model.activation: [relu, gelu, silu]}"
    trials = tuner.search(sweep_config("TRIALS=20", f"sweep.space={space}"))
    settings = [tuple(trial.settings.values()) for trial in trials]
    assert len(set(settings)) == len(settings)
    assert len(settings) == 2 * 3  # all that there are
    assert find_best(trials).score == pytest.approx(0.9)


def test_run_again_it_goes_on_where_it_stopped(sweep_config, fake_fit):
    whole = [trial.settings for trial in tuner.search(sweep_config("TRIALS=7", "run.name=whole"))]
    fake_fit.clear()
    tuner.search(sweep_config("TRIALS=5"))
    assert len(fake_fit) == 5
    tuner.search(sweep_config("TRIALS=5"))
    assert len(fake_fit) == 5
    trials = tuner.search(sweep_config("TRIALS=7"))
    assert len(fake_fit) == 7
    # An interrupted search proposes what an uninterrupted one would have.
    assert [trial.settings for trial in trials] == whole


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_trial_that_was_interrupted_runs_again_with_the_same_values(sweep_config, fake_fit, monkeypatch, error):
    real = tuner.fit

    def interrupted(config, run, *rest, **more):
        if len(fake_fit) == 2:
            raise error
        return real(config, run, *rest, **more)

    monkeypatch.setattr(tuner, "fit", interrupted)
    with pytest.raises(error):
        tuner.search(sweep_config())
    (stopped,) = (row for row in table() if row["status"] == "running")
    assert stopped["id"] == "2"
    assert stopped["score"] == ""
    # What KerasTuner itself left may be cut short anywhere: it is not read.
    for path in FOLDER.glob("tuner/**/*.json"):
        path.write_text(path.read_text()[:20])
    monkeypatch.setattr(tuner, "fit", real)
    tuner.search(sweep_config())
    rows = table()
    assert [row["id"] for row in rows] == list("01234")
    assert {row["status"] for row in rows} == {"completed"}
    assert rows[2]["model.filters"] == stopped["model.filters"]
    assert rows[2]["model.activation"] == stopped["model.activation"]
    assert len(fake_fit) == 5


def test_a_trial_that_cannot_run_is_recorded_and_the_others_go_on(sweep_config, fake_fit, monkeypatch):
    real = tuner.fit

    def failing(config, run, *rest, **more):
        fitted = real(config, run, *rest, **more)
        if len(fake_fit) in (1, 2, 3, 4):  # more in a row than KerasTuner bears by itself
            raise [FloatingPointError, MemoryError, UserError, FloatingPointError][len(fake_fit) - 1]("of its own")
        return fitted

    monkeypatch.setattr(tuner, "fit", failing)
    trials = tuner.search(sweep_config("TRIALS=6"))
    assert [trial.status for trial in trials] == ["failed"] * 4 + ["completed"] * 2
    assert trials[1].error == "MemoryError: of its own"
    assert table()[0]["score"] == ""


def test_a_mistake_in_the_program_stops_the_sweep(sweep_config, monkeypatch):
    monkeypatch.setattr(tuner, "fit", lambda *_, **__: {}["missing"])
    with pytest.raises(KeyError, match="missing"):
        tuner.search(sweep_config())
    assert [row["status"] for row in table()] == ["failed"]


def test_a_changed_space_is_refused_and_says_what_differs(sweep_config, fake_fit):
    tuner.search(sweep_config("TRIALS=1"))
    with pytest.raises(UserError, match=r"training\.epochs: 2 -> 3.*another NAME"):
        tuner.search(sweep_config("training.epochs=3"))
    with pytest.raises(UserError, match=r"space\.model\.filters"):
        tuner.search(sweep_config("sweep.space={model.filters: [2, 3]}"))
    tuner.search(sweep_config("TRIALS=2", "tracking.tensorboard=true"))


def test_other_images_are_another_sweep(sweep_config, fake_fit, photos):
    tuner.search(sweep_config("TRIALS=1"))
    (photos / "train" / "red" / "0.png").unlink()
    with pytest.raises(UserError, match=r"data\.hash"):
        tuner.search(sweep_config("TRIALS=2"))


def test_tables_that_a_kill_left_behind_the_records_are_mended(sweep_config, fake_fit):
    tuner.search(sweep_config("TRIALS=2"))
    best, whole = (FOLDER / "best.yaml").read_text(), (FOLDER / "trials.csv").read_text()
    (FOLDER / "best.yaml").unlink()
    (FOLDER / "trials.csv").write_text(whole.replace("completed", "running"))
    tuner.search(sweep_config("TRIALS=2"))
    assert (FOLDER / "best.yaml").read_text() == best
    assert (FOLDER / "trials.csv").read_text() == whole


def test_a_sweep_is_searched_by_one_process_at_a_time(sweep_config, fake_fit):
    tuner.search(sweep_config("TRIALS=1"))
    with hold_lock(FOLDER / "lock"), pytest.raises(UserError, match="at work in another process"):
        tuner.search(sweep_config("TRIALS=2"))


def test_a_damaged_record_is_named(sweep_config, fake_fit):
    tuner.search(sweep_config("TRIALS=1"))
    (FOLDER / "trials" / "0" / "trial.json").write_text('{"id": "0"')
    with pytest.raises(UserError, match=r"trials/0/trial\.json is damaged"):
        tuner.search(sweep_config("TRIALS=2"))


def test_the_best_configuration_keeps_seed_and_fine_tuning(sweep_config, fake_fit):
    settings = ["run.seed=3", "STRATEGY=topk", "sweep.space={finetune.unfreeze: [2, 5]}"]
    (trial,) = tuner.search(sweep_config("TRIALS=1", *settings))
    best = load_config([], FOLDER / "best.yaml")
    assert best.finetune.unfreeze == trial.settings["finetune.unfreeze"]
    assert best.run.seed == 3


def test_missing_data_stop_before_the_first_trial(sweep_config):
    with pytest.raises(UserError, match="does not exist"):
        tuner.search(sweep_config("DATA=nowhere"))
    assert not FOLDER.exists()


def test_proposals_follow_the_scores(sweep_config):
    """With many observations of a clear trend the Gaussian process proposes from the better half."""
    config = sweep_config(
        "TRIALS=40",
        "sweep.space={model.dropout: {min: 0.0, max: 0.9}, training.learning_rate: {min: 1e-4, max: 1e-1, log: true}}",
    )
    records = Records(config, "hash")
    for index in range(20):
        dropout = (index * 7 % 20) / 20 * 0.9
        values = {"model.dropout": dropout, "training.learning_rate": 10 ** -(1 + index % 3)}
        records.write_trial(Trial(str(index), values, values, "completed", 1 - dropout))
    oracle = RecordedOracle(records, build_hyperparameters(config))
    assert oracle.populate_space("20")["values"]["model.dropout"] < 0.3


def test_the_best_configuration_is_found_by_name_or_by_age(sweep_config, fake_fit):
    tuner.search(sweep_config("TRIALS=1"))
    assert find_best_config("runs", "s") == find_best_config("runs", None) == FOLDER / "best.yaml"
    with pytest.raises(UserError, match=r"'x' has no finished trial.*With one: s\."):
        find_best_config("runs", "x")
