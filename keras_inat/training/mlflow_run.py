"""The MLflow run of a run. MLflow's own variables, such as MLFLOW_TRACKING_URI, decide where it is kept.

This does not use `mlflow.keras.MlflowCallback`. It would see each stage of a fine-tuning as a run of its own, whose
optimizer contradicts the parameters that were logged for the stage before, and not the validation accuracy, which is
measured on the evaluation model.
"""

import os
import time
from typing import Any

from keras_inat.errors import UserError
from keras_inat.files import read_text, write_text
from keras_inat.settings.schema import Config
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import Epoch, Result
from keras_inat.store.runs import RunFolder
from keras_inat.training.wandb_run import (
    PROJECT,
    SCALARS,
    is_installed,
    list_test_scores,
    select_tracked,
    tabulate_predictions,
)

# MLflow would try 7 times, for minutes, before it gives up a server that cannot be reached.
MAX_RETRIES = "2"


def check_mlflow(config: Config) -> None:
    """Raises a `UserError` if `tracking.mlflow` is set and MLflow is not installed."""
    if config.tracking.mlflow and not is_installed("mlflow"):
        raise UserError("tracking.mlflow=true needs MLflow: pip install 'keras-inat[mlflow]', or leave it false")


class MlflowRun:
    """A run in MLflow's store. A run that is active in the same notebook is not touched."""

    def __init__(self, client: Any, run_id: str, run: RunFolder) -> None:
        self._client = client
        self._id = run_id
        self._run = run

    def write_epoch(self, epoch: Epoch) -> None:
        """Writes the scores of an epoch as metrics."""
        self._log_metrics({name: getattr(epoch, name) for name in SCALARS}, epoch.epoch)

    def write_result(self, result: Result) -> None:
        """Writes the scores on the test images. With `tracking.artifacts`, also the predictions and the model."""
        self._log_metrics(list_test_scores(result), result.best_epoch)
        if not result.config.tracking.artifacts:
            return
        if predictions := Predictions.read(self._run.predictions):
            rows = tabulate_predictions(predictions, result.data.classes)
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            self._client.log_dict(self._id, columns, "test_predictions.json")
        self._client.log_artifact(self._id, str(self._run.model))

    def close(self, succeeded: bool) -> None:
        """Ends the run."""
        self._client.set_terminated(self._id, "FINISHED" if succeeded else "FAILED")

    def _log_metrics(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in values.items()])


def open_mlflow(config: Config, run: RunFolder, title: str) -> MlflowRun:
    """Starts the MLflow run of a run, or resumes it and adds the epochs that it lacks."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MAX_RETRIES)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would send statistics of its use to its makers
    import mlflow
    from mlflow.entities import Param

    client = mlflow.MlflowClient()
    if not run.mlflow_id.exists():
        tags = {"group": config.run.name, "command": run.command}
        created = client.create_run(_find_experiment(client, config), tags=tags, run_name=title)
        write_text(run.mlflow_id, created.info.run_id)
    run_id = read_text(run.mlflow_id)
    client.update_run(run_id, status="RUNNING")
    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in select_tracked(config).items()])
    tracked = MlflowRun(client, run_id, run)
    known = {metric.step for metric in client.get_metric_history(run_id, "val_accuracy")}
    for epoch in run.read_epochs():
        if epoch.epoch not in known:
            tracked.write_epoch(epoch)
    return tracked


def _find_experiment(client: Any, config: Config) -> str:
    """Returns the id of the experiment: of the setting, else of MLflow's variables, else of the default project."""
    given = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if given and not config.tracking.project:
        return given
    name = config.tracking.project or os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)
