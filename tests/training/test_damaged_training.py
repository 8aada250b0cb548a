"""Trainings that resume after random damage to their files: they end as before, or a line names the file."""

import numpy as np
import pytest
from mutations import DamagedRuns

from keras_inat.store.ledger import read_ledger
from keras_inat.store.runs import list_runs
from keras_inat.training import checkpoint, epochs, evaluation
from keras_inat.training.evaluation import train_and_evaluate

SETTINGS = ("training.epochs=3", "augment.flip=true", "run.deterministic=true")


class Killed(BaseException):
    """An error that `except Exception` does not catch, like the end of a process."""


def die(*arguments, **keywords):
    raise Killed


def die_after_the_second_epoch(run, progress, *arguments):
    checkpoint.write_checkpoint(run, progress, *arguments)
    if progress.epoch == 2:
        raise Killed


# By name, the function of a module whose replacement kills a run.
KILLS = {
    "training": (epochs, "write_checkpoint", die_after_the_second_epoch),
    "predictions": (evaluation, "ValidationSample", die),
}


def resume(config):
    """Returns everything that decides the outcome of a resumed training."""
    run = train_and_evaluate(config, "train-best", "x")
    result = run.read_result()
    with np.load(run.predictions) as arrays:
        predictions = {name: array.tolist() for name, array in arrays.items()}
    metrics = [epoch.model_dump(exclude={"seconds", "images_per_second"}) for epoch in run.read_epochs()]
    ledger = read_ledger("runs", list_runs("runs"))
    scores = (result.test, result.val_accuracy, result.temperature, result.best_epoch)
    return scores, predictions, metrics, [entry.run for entry in ledger.entries], ledger.faults


@pytest.mark.parametrize("kill", KILLS)
def test_a_damaged_training_resumes_as_before_or_a_line_names_the_file(
    make_config, monkeypatch, list_seeds, capsys, kill
):
    config = make_config(*SETTINGS)
    train_and_evaluate(make_config(*SETTINGS, "run.name=other"), "train-best", "x")
    with monkeypatch.context() as patch:
        patch.setattr(*KILLS[kill])
        with pytest.raises(Killed):
            train_and_evaluate(config, "train-best", "x")
    runs = DamagedRuns(lambda path: "other" not in str(path))
    sound = resume(config)
    capsys.readouterr()
    for seed in list_seeds(4):
        path, words, received, error = runs.resume(seed, lambda: resume(config))
        said = error or capsys.readouterr().err
        assert path.name in said or received == sound, (seed, path, words)
