import keras
import numpy as np
import pytest

from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Model, Training
from keras_inat.store.runs import create_run
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.losses import build_loss, compute_class_weights
from keras_inat.training.session import fit

rng = np.random.default_rng(0)
IMAGES = rng.uniform(0, 255, (12, 16, 16, 3)).astype("float32")
LABELS = rng.dirichlet([0.5] * 3, 12).astype("float32")  # mixed labels, as from MixUp
CLASSES = np.array([0] * 5 + [1] * 2 + [2])
ARCHITECTURE = {"num_blocks": 2, "filters": 4, "dense_units": 5}


def split(model):
    """Yields each member as a separate model with the same weights."""
    for number in range(1, 4):
        alone = build_cnn(Model(**ARCHITECTURE), 16, 3)
        for layer in alone.layers:
            name = layer.name if number == 1 else f"member{number}_{layer.name}"
            if layer.name == "predictions":
                name = f"member{number}_predictions"
            if layer.weights:
                layer.set_weights(model.get_layer(name).get_weights())
        yield number, alone


def test_the_prediction_is_the_mean_of_the_members():
    model = build_cnn(Model(ensemble_size=3, **ARCHITECTURE), 16, 3)
    expected = np.mean([alone(IMAGES) for _, alone in split(model)], axis=0)
    np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-5)
    np.testing.assert_allclose(clone_for_training(model, False)(IMAGES), expected, rtol=1e-5)
    assert np.abs(np.diff([alone(IMAGES) for _, alone in split(model)], axis=0)).max() > 0.01


@pytest.mark.parametrize("training", [Training(), Training(label_smoothing=0.2), Training(class_weights="balanced")])
def test_each_member_takes_the_step_of_a_separate_training(training):
    model = build_cnn(Model(ensemble_size=3, **ARCHITECTURE), 16, 3)
    alone = dict(split(model))
    trained = clone_for_training(model, False)
    for network, ensemble_size in ((trained, 3), *((single, 1) for single in alone.values())):
        network.compile(keras.optimizers.SGD(0.5), build_loss(training, CLASSES, 3, ensemble_size))
        network.train_on_batch(IMAGES, LABELS)
    for number, single in split(trained):
        moved = [np.abs(a - b).max() for a, b in zip(single.get_weights(), alone[number].get_weights(), strict=True)]
        assert max(moved) < 1e-5
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(trained.get_weights(), model.get_weights(), strict=True))


def test_codistillation_adds_the_mean_prediction_to_the_targets():
    model = build_cnn(Model(ensemble_size=3, **ARCHITECTURE), 16, 3)
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


def test_codistillation_needs_an_ensemble():
    for settings in (["model.ensemble_size=1"], ["model.ensemble_size=2", "STRATEGY=head"]):
        with pytest.raises(UserError, match=r"needs `model\.ensemble_size` of 2 or more"):
            load_config([*settings, "training.codistillation=0.5"])


def test_the_value_of_the_loss_is_that_of_the_mean():
    model = build_cnn(Model(ensemble_size=3, **ARCHITECTURE), 16, 3)
    weights = compute_class_weights(CLASSES, 3)
    smoothed = LABELS * weights * 0.9 + 0.1 / 3
    expected = -(smoothed * np.log(model(IMAGES))).sum(axis=1).mean()
    loss = build_loss(Training(class_weights="balanced", label_smoothing=0.1), CLASSES, 3, 3)
    assert float(loss(LABELS, model(IMAGES))) == pytest.approx(expected, rel=1e-5)


def test_an_ensemble_is_trained_and_saved(make_config):
    config = make_config("model.ensemble_size=2", "training.epochs=2", "training.ema=0.2", "training.optimizer=muon")
    run = create_run(config, "train-best")
    trained = fit(config, run)
    saved = keras.models.load_model(run.model, compile=False)
    images = np.array(trained.data.images)
    np.testing.assert_allclose(saved(images), trained.model(images), rtol=1e-5)
    rows = trained.data.validation_rows
    accuracy = (saved.predict(images[rows], verbose=0).argmax(axis=1) == trained.data.labels[rows]).mean()
    assert accuracy == pytest.approx(trained.result.val_accuracy, abs=1e-6)
