import json
import zipfile

import keras
import numpy as np
import pytest

from keras_inat.errors import UserError
from keras_inat.models.model_files import NEW_SETTINGS, load_model, write_model, write_temperature
from keras_inat.store.contracts import ModelContract, read_contract
from keras_inat.store.records import Preparation

PREPARATION = Preparation(fit="squash", bit_depth=12, float_range=255.0)
CONTRACT = ModelContract(
    classes=("a", "b"), image_size=8, preparation=PREPARATION, keras=keras.__version__, keras_inat="1"
)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer="he_normal")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x)))


def test_the_file_is_the_model_with_its_contract(tmp_path, model):
    path = tmp_path / "best.keras"
    write_model(model, path, CONTRACT)
    assert [file.name for file in tmp_path.iterdir()] == ["best.keras"]
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    for loaded in (load_model(path), keras.models.load_model(path)):
        np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    assert read_contract(path) == CONTRACT
    assert json.loads(zipfile.ZipFile(path).read("keras_inat.json"))["classes"] == ["a", "b"]


def test_an_older_keras_knows_every_setting_of_the_file(tmp_path, model):
    path = tmp_path / "best.keras"
    write_model(model, path, CONTRACT)
    config = zipfile.ZipFile(path).read("config.json").decode()
    assert "HeNormal" in config
    assert not any(name in config for name in NEW_SETTINGS)


def test_a_temperature_is_added_to_the_contract(tmp_path, model):
    path = tmp_path / "best.keras"
    write_model(model, path, CONTRACT)
    for temperature in (1.25, 0.5):
        write_temperature(path, temperature)
        assert read_contract(path) == CONTRACT.model_copy(update={"temperature": temperature})
    assert len(set(zipfile.ZipFile(path).namelist())) == len(zipfile.ZipFile(path).namelist())
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(load_model(path).predict(images, verbose=0), model.predict(images, verbose=0))


def test_a_failure_leaves_the_old_file(tmp_path, model, monkeypatch):
    path = tmp_path / "best.keras"
    path.write_bytes(b"old")
    monkeypatch.setattr(type(model), "save", lambda self, file: file.write_bytes(b"no archive"))
    with pytest.raises(zipfile.BadZipFile):
        write_model(model, path, CONTRACT)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["best.keras"]


def test_a_model_of_another_program_has_no_contract(tmp_path, model):
    model.save(tmp_path / "other.keras")
    (tmp_path / "text.keras").write_text("text")
    for name in ("other", "text", "missing"):
        with pytest.raises(UserError, match=f"{name}.keras is not a model that keras-inat has saved"):
            read_contract(tmp_path / f"{name}.keras")
