import io
import struct

import h5py
import numpy as np
import pytest

from keras_inat.models import weight_files
from keras_inat.models.weight_files import MAX_COPIES, SPARE_BYTES, check_size, check_weights_apart


@pytest.fixture
def weights(tmp_path):
    """A file of 10 float32 and 3 float64 numbers, and a list of one of them."""
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["group/kernel"] = np.ones((5, 2), np.float32)
        file["bias"] = np.ones(3)
        file["group"].attrs["weight_names"] = ["k" * 77]
    return path


def test_the_numbers_of_a_file_are_counted(weights):
    assert check_weights_apart(weights) == 10 * 4 + 3 * 8
    assert check_weights_apart(io.BytesIO(weights.read_bytes())) == 64
    assert weights.exists()


def test_a_file_may_hold_several_copies_of_a_model(weights):
    check_size(MAX_COPIES * 100 + SPARE_BYTES, 100)
    with pytest.raises(ValueError, match="it holds 16,778,017 bytes of weights, but its model has 100"):
        check_size(MAX_COPIES * 100 + SPARE_BYTES + 1, 100)


def test_a_text_that_declares_gigabytes_is_refused(weights):
    # HDF5 itself takes this memory before it compares the length with what the file holds.
    content = weights.read_bytes()
    place = content.index(struct.pack("<L", 77))
    weights.write_bytes(content[:place] + struct.pack("<L", 3 * 10**9) + content[place + 4 :])
    with pytest.raises(ValueError, match="memory allocation failed"):
        check_weights_apart(weights)


def test_a_file_that_crashes_the_reader_or_keeps_it_busy_is_refused(weights, monkeypatch, tmp_path):
    monkeypatch.setattr(weight_files, "MAX_SECONDS", 0.01)
    with pytest.raises(ValueError, match="reading it takes more than 0 s"):
        check_weights_apart(weights)
    monkeypatch.undo()
    (tmp_path / "reader.py").write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(weight_files, "__file__", str(tmp_path / "reader.py"))
    with pytest.raises(ValueError, match="it crashes the library of HDF5"):
        check_weights_apart(weights)
