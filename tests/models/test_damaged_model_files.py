"""Honest model files and weights, damaged at random: the same outcome, or one line that names the file."""

import shutil

import h5py
import keras
import numpy as np
import pytest
from hostile_files import Editor, build_honest
from keras.src.legacy.saving import legacy_h5_format
from mutations import damage

from keras_inat.errors import UserError
from keras_inat.models.model_files import load_model
from keras_inat.models.pretrained import build_finetune
from keras_inat.settings.schema import Finetune


def test_a_damaged_model_is_the_same_or_refused(tmp_path, list_seeds):
    keras.utils.set_random_seed(0)
    honest = tmp_path / "honest.keras"
    build_honest().save(honest)
    expected = load_model(honest).get_weights()
    path = tmp_path / "damaged.keras"
    messages = []
    for seed in list_seeds(200):
        shutil.copy(honest, path)
        words = damage(path, seed)
        try:
            received = load_model(path).get_weights()
        except UserError as error:
            messages.append(str(error))
            continue
        # The archive has a checksum of every member.
        for weights, before in zip(received, expected, strict=True):
            np.testing.assert_array_equal(weights, before, f"{seed}: {words}")
    check_messages(messages, path)


@pytest.mark.parametrize(("member", "usual"), [("config.json", 60), ("model.weights.h5", 12)])
def test_a_model_whose_parts_are_damaged_runs_or_is_refused(tmp_path, list_seeds, member, usual):
    """The checksums of the archive are right, as after a change by hand."""
    keras.utils.set_random_seed(0)
    honest = tmp_path / "honest.keras"
    build_honest().save(honest)
    path = tmp_path / "damaged.keras"
    part = tmp_path / member
    messages = []
    for seed in list_seeds(usual):
        editor = Editor(honest)
        part.write_bytes(editor.members[member])
        words = damage(part, seed)
        editor.members[member] = part.read_bytes()
        editor.write(path)
        try:
            model = build_finetune(Finetune(weights=str(path)), 16, 3)
        except UserError as error:
            messages.append(str(error))
            continue
        assert model.output_shape == (None, 3), (seed, words)
    check_messages(messages, path)


def check_messages(messages, path):
    assert messages
    for message in messages:
        assert message.startswith(str(path))
        assert message.isprintable()


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_damaged_weights_fit_the_backbone_or_are_refused(tmp_path, list_seeds, suffix):
    """A file of weights has no checksum. Its numbers are those that it holds, and all of them are finite."""
    keras.utils.set_random_seed(0)
    honest = tmp_path / f"mobilenet_2_5_224_tf_no_top{suffix}"
    narrow = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3))
    if suffix == ".h5":
        with h5py.File(honest, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, narrow)
    else:
        narrow.save_weights(honest)
    path = tmp_path / "damaged" / honest.name
    path.parent.mkdir()
    messages = []
    for seed in list_seeds(8):
        shutil.copy(honest, path)
        words = damage(path, seed)
        try:
            model = build_finetune(Finetune(backbone="MobileNet", weights=str(path)), 32, 3)
        except UserError as error:
            messages.append(str(error))
            continue
        assert all(np.isfinite(weights).all() for weights in model.get_weights()), (seed, words)
    check_messages(messages, path)
