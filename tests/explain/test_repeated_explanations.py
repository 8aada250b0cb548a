"""All explanations together: nothing but the model and the images decides them."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from keras_inat.explain.explanations import compute_explanations
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.networks import Model
from keras_inat.store.predictions import ValidationSample


def write_explanations(model: Path, path: Path) -> bytes:
    """Explains a model with images that its file name does not change, and returns the file that is stored."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    sample = ValidationSample(pixels=pixels, labels=np.arange(12) % 3)
    explained = compute_explanations(
        keras.models.load_model(model, compile=False), SimpleNamespace(pixels=pixels[:2]), sample, 10**8, False
    )
    assert not explained.failures
    explained.write(path, "key")
    return path.read_bytes()


def test_explanations_are_the_same_bytes_after_other_random_calls_and_in_another_process(tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    model = tmp_path / "model.keras"
    build_cnn(Model(num_blocks=2, filters=4, dense_units=0, pooling="average", dropout=0.2), 16, 3).save(model)
    first = write_explanations(model, tmp_path / "first.npz")
    keras.utils.set_random_seed(1)
    np.random.default_rng(0).random()
    tf.random.uniform((3,))
    other = build_cnn(Model(num_blocks=2, filters=4), 16, 3)
    other.compile("adam", "sparse_categorical_crossentropy")
    other.fit(np.zeros((4, 16, 16, 3)), np.arange(4) % 3, verbose=0)
    assert write_explanations(model, tmp_path / "second.npz") == first
    third = tmp_path / "third.npz"
    monkeypatch.setenv("PYTHONHASHSEED", "3")
    subprocess.run([sys.executable, __file__, str(model), str(third)], check=True, capture_output=True, env=os.environ)
    assert third.read_bytes() == first


if __name__ == "__main__":
    write_explanations(Path(sys.argv[1]), Path(sys.argv[2]))
