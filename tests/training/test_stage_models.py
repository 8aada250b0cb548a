from pathlib import Path

import keras
import numpy as np
import pytest
from mutations import damage

from keras_inat.data.dataset import open_data
from keras_inat.files import write_atomically
from keras_inat.models.cnn import build_cnn
from keras_inat.models.pretrained import build_finetune, get_features
from keras_inat.store.runs import create_run
from keras_inat.training import stage_models
from keras_inat.training.session import fit
from keras_inat.training.stage_models import load_features, split_head


@pytest.fixture
def config(make_config, tmp_path):
    """A configuration with a frozen backbone that this program trained."""
    build_cnn(make_config().model, 16, 3).save(tmp_path / "trained.keras")
    return make_config("STRATEGY=head", f"WEIGHTS={tmp_path / 'trained.keras'}", "training.learning_rate=0.1")


def change(config, **sections):
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    )


def test_features_of_images_and_of_flipped_images(config):
    config = change(config, augment={"flip": True})
    data, model = open_data(config), build_finetune(config.finetune, 16, 3)
    features = load_features(model, data)
    body = keras.Model(model.input, get_features(model))
    images = np.array(data.images)
    np.testing.assert_allclose(features[0], body(images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features[1], body(images[:, :, ::-1]), rtol=1e-5, atol=1e-6)
    head = split_head(model)
    np.testing.assert_allclose(head(features[0]), model(images), rtol=1e-4, atol=1e-6)


def test_cached_features_are_reused_until_anything_they_depend_on_changes(config, capsys):
    data, model = open_data(config), build_finetune(config.finetune, 16, 3)
    first = load_features(model, data)
    other = build_finetune(config.finetune, 16, 3)  # with another head
    capsys.readouterr()
    np.testing.assert_array_equal(load_features(other, data), first)
    assert capsys.readouterr().out == ""
    for layer in other.layers:
        layer.trainable = False
    Path("excluded.txt").write_text("train/red/3.png")
    without = open_data(change(config, data={"exclude": "excluded.txt"}))
    assert without.hash != data.hash
    np.testing.assert_array_equal(load_features(other, without), first)
    assert capsys.readouterr().out == ""
    squashed = open_data(change(config, data={"fit": "squash"}))
    assert squashed.directory == data.directory
    load_features(model, squashed)
    assert len(list(data.directory.glob("features-*.npz"))) == 2
    norm = model.get_layer("block1_norm")
    norm.moving_mean.assign(norm.moving_mean + 1)
    assert not np.allclose(load_features(model, data), first)


def test_damaged_features_are_computed_again(config, list_seeds, monkeypatch):
    data, model = open_data(config), build_finetune(config.finetune, 16, 3)
    first = load_features(model, data)
    (path,) = data.directory.glob("features-*.npz")
    content = path.read_bytes()
    # Only what is read: computing takes long.
    monkeypatch.setattr(stage_models, "make_predict_function", lambda _: lambda pixels: np.zeros((len(pixels), 4)))
    for seed in list_seeds(50):
        damage(path, seed)
        received = load_features(model, data)
        assert np.array_equal(received, first) or not received.any()
        path.write_bytes(content)
    np.savez(path, features=first + 1, key=np.array("another"))
    assert not load_features(model, data).any()


def test_features_that_cannot_be_cached_are_returned(config, monkeypatch, capsys):
    data, model = open_data(config), build_finetune(config.finetune, 16, 3)
    monkeypatch.setattr(stage_models, "write_atomically", lambda path: write_atomically(Path("/proc/none") / path.name))
    assert load_features(model, data).shape == (1, 30, 4)
    assert "are not cached for other runs, because of an error: cannot write /proc/none/" in capsys.readouterr().err
    assert not list(data.directory.glob("features-*"))


def test_a_head_trained_on_features_equals_one_trained_on_images(config):
    weights = {}
    for cached in (True, False):
        chosen = change(config, finetune={"cache_features": cached, "dropout": 0.5}, training={"ema": 0.2})
        run = create_run(chosen, "finetune")
        trained = fit(chosen, run)
        assert run.read_epochs()[-1].val_accuracy <= trained.result.val_accuracy
        weights[cached] = trained.model.get_weights()
        saved = keras.models.load_model(run.model, compile=False)
        images = np.array(trained.data.images)
        np.testing.assert_allclose(saved(images), trained.model(images), rtol=1e-5)
    for first, second in zip(weights[True], weights[False], strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


def test_the_log_describes_the_stages(config, capsys):
    fit(change(config, finetune={"strategy": "lpft", "bottom_rate": 0.5}), create_run(config, "finetune"))
    out = capsys.readouterr().out
    head = "0 layers of the backbone and the head, 15 of 299 parameters, learning rate 0.1\n"
    assert f"stage 'head': trains {head}" in out
    assert (
        "stage 'all': trains 2 layers of the backbone and the head, 267 of 299 parameters, learning rate 0.1, "
        "backbone 0.01 to 0.005\n" in out
    )
