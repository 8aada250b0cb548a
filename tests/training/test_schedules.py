import numpy as np
import pytest

from keras_inat.store.runs import create_run
from keras_inat.training.schedules import Schedule
from keras_inat.training.session import fit


def list_rates(name, steps, warmup=0.0):
    schedule = Schedule(name, 0.1, steps, warmup)
    return [float(schedule(step)) for step in range(steps + 1)]


@pytest.mark.parametrize(
    ("name", "steps", "warmup", "expected"),
    [
        ("constant", 2, 0.0, [0.1, 0.1, 0.1]),
        ("constant", 4, 0.5, [0.05, 0.1, 0.1, 0.1, 0.1]),
        ("linear", 4, 0.0, [0.1, 0.075, 0.05, 0.025, 0]),
        ("cosine", 4, 0.0, [0.1, 0.085355, 0.05, 0.014645, 0]),
        ("cosine", 5, 0.2, [0.1, 0.1, 0.085355, 0.05, 0.014645, 0]),
        ("step", 8, 0.0, [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001]),
        ("onecycle", 4, 0.5, [0.004, 0.052, 0.1, 0.05, 0]),
        ("onecycle", 10, 0.0, [0.004, 0.028, 0.076, 0.1, *(0.05 * (1 + np.cos(np.pi * np.arange(1, 8) / 7)))]),
    ],
)
def test_learning_rates(name, steps, warmup, expected):
    np.testing.assert_allclose(list_rates(name, steps, warmup), expected, atol=1e-6)


def test_a_plateau_halves_the_learning_rate(make_config):
    config = make_config(
        "training.schedule=plateau", "training.learning_rate=1e-9", "training.epochs=8", "model.batch_norm=false"
    )
    run = create_run(config, "train-best")
    best = fit(config, run).result.best_epoch
    assert best == 1
    received = [epoch.learning_rate for epoch in run.read_epochs()]
    np.testing.assert_allclose(received, [1e-9] * 6 + [0.5e-9] * 2, rtol=1e-5)


def test_the_patience_of_a_plateau_begins_after_the_warmup(make_config):
    config = make_config(
        *("training.schedule=plateau", "training.warmup=0.875", "training.learning_rate=1e-9", "training.epochs=8"),
        "model.batch_norm=false",
    )
    run = create_run(config, "train-best")
    fit(config, run)
    received = [epoch.learning_rate for epoch in run.read_epochs()]
    np.testing.assert_allclose(received, [number / 7 * 1e-9 for number in range(1, 7)] + [1e-9, 0.5e-9], rtol=1e-5)
