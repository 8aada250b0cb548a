import keras
import numpy as np
import pytest

from keras_inat.config import load_config
from keras_inat.models.cnn import build_cnn
from keras_inat.runs import create_run
from keras_inat.sections import Training
from keras_inat.training.loop import fit
from keras_inat.training.schedules import Schedule, build_optimizer


def rates(name, steps, warmup=0.0):
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
def test_rates(name, steps, warmup, expected):
    np.testing.assert_allclose(rates(name, steps, warmup), expected, atol=1e-6)


def test_a_plateau_halves_the_rate(make_config):
    config = make_config(
        "training.schedule=plateau", "training.learning_rate=1e-9", "training.epochs=8", "model.batch_norm=false"
    )
    run = create_run(config, "train-best")
    best = fit(config, run).result["best_epoch"]
    assert best == 1
    received = [row["learning_rate"] for row in run.read_metrics()]
    np.testing.assert_allclose(received, [1e-9] * 6 + [0.5e-9] * 2, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "sgd", "rmsprop"])
def test_weight_decay_is_decoupled_and_spares_biases_and_normalisation(name):
    model = build_cnn(load_config(["model.num_blocks=1", "model.filters=2"]).model, 8, 2)
    optimizer = build_optimizer(Training(optimizer=name, weight_decay=0.5), 0.1, 10, model)
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    optimizer.apply([np.zeros(weight.shape, "float32") for weight in model.trainable_weights], model.trainable_weights)
    for weight in model.trainable_weights:
        shrink = 1 - 0.1 * 0.5 if weight.path.endswith("kernel") else 1
        np.testing.assert_allclose(weight.numpy(), before[weight.path] * shrink, rtol=1e-5)
    assert isinstance(optimizer, keras.optimizers.Optimizer)
