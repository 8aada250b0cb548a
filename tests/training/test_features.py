from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inat.data.packs import load_pack
from keras_inat.files import write_atomically
from keras_inat.models.cnn import build_cnn
from keras_inat.models.pretrained import build_finetune
from keras_inat.store.runs import create_run
from keras_inat.training import features
from keras_inat.training.features import load_features, split_head
from keras_inat.training.session import fit


@pytest.fixture
def config(make_config, tmp_path):
    """A frozen backbone of ours."""
    build_cnn(make_config().model, 16, 3).save(tmp_path / "own.keras")
    return make_config("STRATEGY=head", f"WEIGHTS={tmp_path / 'own.keras'}", "training.learning_rate=0.1")


def change(config, **sections):
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    )


def test_features_are_what_the_backbone_makes_of_images_and_mirror_images(config):
    config = change(config, augment={"flip": True})
    pack, model = load_pack(config), build_finetune(config.finetune, 16, 3)
    features = load_features(model, pack, config)
    body = keras.Model(model.input, model.get_layer("head_pool").output)
    images = np.array(pack.train_images)
    np.testing.assert_allclose(features[0], body(images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features[1], body(images[:, :, ::-1]), rtol=1e-5, atol=1e-6)
    head = split_head(model)
    np.testing.assert_allclose(head(features[0]), model(images), rtol=1e-4, atol=1e-6)


def test_features_are_found_again_until_anything_they_follow_from_changes(config, capsys):
    pack, model = load_pack(config), build_finetune(config.finetune, 16, 3)
    first = load_features(model, pack, config)
    other = build_finetune(config.finetune, 16, 3)  # with another head
    capsys.readouterr()
    np.testing.assert_array_equal(load_features(other, pack, config), first)
    assert capsys.readouterr().out == ""
    (path,) = pack.directory.glob("features-*.npy")
    path.write_bytes(path.read_bytes()[:200])  # damaged
    np.testing.assert_array_equal(load_features(model, pack, config), first)
    norm = model.get_layer("block1_norm")
    norm.moving_mean.assign(norm.moving_mean + 1)
    assert not np.allclose(load_features(model, pack, config), first)


def test_what_cannot_be_kept_is_had_all_the_same(config, monkeypatch, capsys):
    pack, model = load_pack(config), build_finetune(config.finetune, 16, 3)
    monkeypatch.setattr(features, "write_atomically", lambda path: write_atomically(Path("/proc/none") / path.name))
    assert load_features(model, pack, config).shape == (1, 30, 4)
    assert "is not kept for other runs: [Errno 2] No such" in capsys.readouterr().err
    assert not list(pack.directory.glob("features-*"))


def test_a_head_on_features_ends_as_one_on_images(config):
    ends = {}
    for cached in (True, False):
        chosen = change(config, finetune={"cache_features": cached, "dropout": 0.5}, training={"ema": 0.2})
        run = create_run(chosen, "finetune")
        done = fit(chosen, run)
        assert run.read_metrics()[-1]["val_accuracy"] <= done.result["val_accuracy"]
        ends[cached] = done.model.get_weights()
        kept = keras.models.load_model(run.model, compile=False)
        images = np.array(done.pack.train_images)
        np.testing.assert_allclose(kept(images), done.model(images), rtol=1e-5)
    for first, second in zip(ends[True], ends[False], strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


def test_the_log_says_what_trains(config, capsys):
    fit(change(config, finetune={"strategy": "lpft", "bottom_rate": 0.5}), create_run(config, "finetune"))
    out = capsys.readouterr().out
    assert "stage 'head': 0 backbone layers and the head train, 15 of 299 parameters, learning rate 0.1\n" in out
    assert (
        "stage 'all': 2 backbone layers and the head train, 267 of 299 parameters, learning rate 0.1, "
        "the backbone's 0.01 to 0.005\n" in out
    )
