import keras
import numpy as np
import pytest

from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Model, Training
from keras_inat.store.runs import create_run
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.losses import build_loss, weigh_classes
from keras_inat.training.session import fit

rng = np.random.default_rng(0)
IMAGES = rng.uniform(0, 255, (12, 16, 16, 3)).astype("float32")
LABELS = rng.dirichlet([0.5] * 3, 12).astype("float32")  # mixed, as by MixUp
CLASSES = np.array([0] * 5 + [1] * 2 + [2])
SHAPE = {"num_blocks": 2, "filters": 4, "dense_units": 5}


def split(model):
    """Each tower as a model of its own, with the same weights."""
    for number in range(1, 4):
        alone = build_cnn(Model(**SHAPE), 16, 3)
        for layer in alone.layers:
            name = {1: layer.name}.get(number, f"tower{number}_{layer.name}")
            if layer.name == "predictions":
                name = f"tower{number}_predictions"
            if layer.weights:
                layer.set_weights(model.get_layer(name).get_weights())
        yield number, alone


def test_the_mean_of_towers_is_judged():
    model = build_cnn(Model(ensemble_size=3, **SHAPE), 16, 3)
    expected = np.mean([alone(IMAGES) for _, alone in split(model)], axis=0)
    np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-5)
    np.testing.assert_allclose(clone_for_training(model, False)(IMAGES), expected, rtol=1e-5)
    assert np.abs(np.diff([alone(IMAGES) for _, alone in split(model)], axis=0)).max() > 0.01


@pytest.mark.parametrize("training", [Training(), Training(label_smoothing=0.2), Training(class_weights="balanced")])
def test_each_tower_takes_the_step_that_it_would_take_alone(training):
    model = build_cnn(Model(ensemble_size=3, **SHAPE), 16, 3)
    alone = dict(split(model))
    trained = clone_for_training(model, False)
    for network, ensemble_size in ((trained, 3), *((single, 1) for single in alone.values())):
        network.compile(keras.optimizers.SGD(0.5), build_loss(training, CLASSES, 3, ensemble_size))
        network.train_on_batch(IMAGES, LABELS)
    for number, single in split(trained):
        moved = [np.abs(a - b).max() for a, b in zip(single.get_weights(), alone[number].get_weights(), strict=True)]
        assert max(moved) < 1e-5
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(trained.get_weights(), model.get_weights(), strict=True))


def test_each_tower_learns_from_the_mean_of_all():
    model = build_cnn(Model(ensemble_size=3, **SHAPE), 16, 3)
    alone = dict(split(model))
    trained = clone_for_training(model, False)
    targets = 0.7 * (0.8 * LABELS + 0.2 / 3) + 0.3 * np.array(model(IMAGES, training=True))
    settings = Training(label_smoothing=0.2, codistillation=0.3)
    trained.compile(keras.optimizers.SGD(0.5), build_loss(settings, CLASSES, 3, 3))
    trained.train_on_batch(IMAGES, LABELS)
    for number, single in split(trained):
        alone[number].compile(keras.optimizers.SGD(0.5), build_loss(Training(), CLASSES, 3))
        alone[number].train_on_batch(IMAGES, targets)
        moved = [np.abs(a - b).max() for a, b in zip(single.get_weights(), alone[number].get_weights(), strict=True)]
        assert max(moved) < 1e-5


def test_there_must_be_towers_to_learn_from():
    for settings in (["model.ensemble_size=1"], ["model.ensemble_size=2", "STRATEGY=head"]):
        with pytest.raises(UserError, match="to learn from one another"):
            load_config([*settings, "training.codistillation=0.5"])


def test_the_loss_is_that_of_the_mean():
    model = build_cnn(Model(ensemble_size=3, **SHAPE), 16, 3)
    weights = weigh_classes(CLASSES, 3)
    smoothed = LABELS * weights * 0.9 + 0.1 / 3
    expected = -(smoothed * np.log(model(IMAGES))).sum(axis=1).mean()
    loss = build_loss(Training(class_weights="balanced", label_smoothing=0.1), CLASSES, 3, 3)
    assert float(loss(LABELS, model(IMAGES))) == pytest.approx(expected, rel=1e-5)


def test_towers_are_trained_kept_and_found_again(make_config):
    config = make_config("model.ensemble_size=2", "training.epochs=2", "training.ema=0.2", "training.optimizer=muon")
    run = create_run(config, "train-best")
    done = fit(config, run)
    kept = keras.models.load_model(run.model, compile=False)
    images = np.array(done.pack.train_images)
    np.testing.assert_allclose(kept(images), done.model(images), rtol=1e-5)
    _, rows = done.pack.split(config)
    accuracy = (kept.predict(images[rows], verbose=0).argmax(axis=1) == done.pack.train_labels[rows]).mean()
    assert accuracy == pytest.approx(done.result["val_accuracy"], abs=1e-6)
