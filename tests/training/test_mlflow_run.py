"""MLflow, with a client that keeps what it gets. The real one is large and optional."""

import sys
from collections import defaultdict
from types import ModuleType, SimpleNamespace

import pytest

from keras_inat.__main__ import main
from keras_inat.store.runs import create_run
from keras_inat.training import mlflow_run
from keras_inat.training.evaluation import train_and_evaluate
from keras_inat.training.tracking import open_tracking


class Client:
    """The methods of `mlflow.MlflowClient` that are used."""

    def __init__(self):
        self.experiments = {}
        self.runs = []
        self.metrics = defaultdict(list)
        self.params = {}
        self.files = {}
        self.status = []

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name):
        self.experiments[name] = str(len(self.experiments) + 1)
        return self.experiments[name]

    def create_run(self, experiment_id, tags, run_name):
        self.runs.append((experiment_id, tags, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=f"id{len(self.runs)}"))

    def update_run(self, run_id, status):
        self.status.append(status)

    set_terminated = update_run

    def log_batch(self, run_id, metrics=(), params=()):
        for metric in metrics:
            self.metrics[metric.key].append(metric)
        self.params |= {param.key: param.value for param in params}

    def get_metric_history(self, run_id, key):
        return self.metrics[key]

    def log_dict(self, run_id, values, file):
        self.files[file] = values

    def log_artifact(self, run_id, path):
        self.files[path] = None


@pytest.fixture
def client(monkeypatch):
    client = Client()
    package = ModuleType("mlflow")
    package.MlflowClient = lambda: client
    package.entities = ModuleType("mlflow.entities")
    package.entities.Metric = lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step)
    package.entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", package.entities)
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")  # restored after the test
    return client


def test_a_run_is_tracked_with_its_evaluation(make_config, client):
    run = train_and_evaluate(make_config("tracking.mlflow=true", "run.name=first"), "train-best", "")
    result = run.read_result()
    assert client.experiments == {"keras-inat": "1"}
    assert client.runs == [("1", {"group": "first", "command": "train-best"}, run.path.name)]
    assert client.params["model.filters"] == "4"
    accuracies = [(metric.step, metric.value) for metric in client.metrics["val_accuracy"]]
    assert accuracies == [(epoch.epoch, epoch.val_accuracy) for epoch in run.read_epochs()]
    assert [metric.value for metric in client.metrics["test_accuracy"]] == [result.test_scores.accuracy]
    table = client.files["test_predictions.json"]
    assert sum(table["correct"]) / 12 == pytest.approx(result.test_scores.accuracy)
    assert str(run.model) in client.files
    assert client.status == ["RUNNING", "FINISHED"]


def test_only_numbers_without_artifacts(make_config, client):
    train_and_evaluate(make_config("tracking.mlflow=true", "tracking.artifacts=false"), "train-best", "")
    assert client.metrics["test_accuracy"]
    assert client.files == {}


def test_a_resumed_run_keeps_its_id_and_gets_the_epochs_that_it_lacks(make_config, build_epoch, client):
    config = make_config("tracking.mlflow=true")
    run = create_run(config, "sweep")
    run.append_epoch(build_epoch(1, 0.25))
    with open_tracking(config, run):
        run.append_epoch(build_epoch(2, 0.5))  # killed before it was tracked
    with open_tracking(config, run):
        pass
    assert len(client.runs) == 1
    assert [(metric.step, metric.value) for metric in client.metrics["val_accuracy"]] == [(1, 0.25), (2, 0.5)]


@pytest.mark.parametrize(
    ("setting", "variables", "experiment"),
    [
        ("null", {"MLFLOW_EXPERIMENT_NAME": "birds"}, "1"),
        ("null", {"MLFLOW_EXPERIMENT_ID": "7"}, "7"),
        ("moths", {"MLFLOW_EXPERIMENT_ID": "7"}, "1"),
    ],
)
def test_the_experiment_of_a_variable_stands_above_the_default(
    setting, variables, experiment, make_config, client, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = make_config("tracking.mlflow=true", f"tracking.project={setting}")
    with open_tracking(config, create_run(config, "sweep")):
        pass
    assert client.runs[0][0] == experiment
    assert list(client.experiments) in (["birds"], [], ["moths"])


def test_a_server_that_fails_stops_nothing(make_config, client, monkeypatch, capsys):
    monkeypatch.setattr(client, "create_run", lambda *_, **__: 1 / 0)
    config = make_config("tracking.mlflow=true")
    run = create_run(config, "sweep")
    with open_tracking(config, run) as trackers:
        assert trackers == []
    assert "MLflow does not track this run, because it failed: division by zero" in capsys.readouterr().err


def test_a_variable_alone_sends_nothing(make_config, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    config = make_config()
    with open_tracking(config, create_run(config, "sweep")) as trackers:
        assert trackers == []
    assert client.runs == []


def test_a_missing_mlflow_is_an_error_before_anything_is_decoded(photos, workplace, monkeypatch, capsys):
    monkeypatch.setattr(mlflow_run, "is_installed", lambda package: False)
    assert main(["sweep", f"DATA={photos}", "tracking.mlflow=true"]) == 2
    line = "error: tracking.mlflow=true needs MLflow: pip install 'keras-inat[mlflow]', or leave it false\n"
    assert capsys.readouterr().err == line
    assert not (workplace / "data").exists()


def test_an_unknown_mode_of_wandb_is_an_error_before_anything_is_decoded(photos, workplace, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    assert main(["sweep", f"DATA={photos}"]) == 2
    assert capsys.readouterr().err.startswith("error: the variable WANDB_MODE must be one of ")
    assert not (workplace / "data").exists()
