"""A training that is replaced by a formula, and a forkserver that the tests share."""

import pytest

from keras_inat.executors.local import start_forkserver
from keras_inat.search import trial as trials_module
from keras_inat.training.session import TrainedModel


@pytest.fixture
def fake_fit(monkeypatch, build_result, build_epoch):
    """Scores a configuration by a formula instead of a training. Returns the list of the trained networks' settings."""
    calls = []

    def fit(config, run, *arguments, **options):
        calls.append(config.model)
        score = config.model.filters / 10 + (config.model.activation == "gelu") * 0.1
        run.write_epochs(build_epoch(number + 1, score) for number in range(config.training.epochs))
        scores = {"val_accuracy": score, "epochs": config.training.epochs, "seconds": 7.5}
        origin = {"command": run.command, "config": config, "data": options["data"].summary}
        return TrainedModel(None, None, build_result().model_copy(update=origin | scores))

    monkeypatch.setattr(trials_module, "fit", fit)
    monkeypatch.setattr(trials_module.keras.utils, "clear_session", lambda: None)  # there is no network to free
    return calls


@pytest.fixture(scope="session")
def shared_forkserver():
    """Starts the forkserver with the modules of a trial, so that no process has to import them."""
    start_forkserver()
