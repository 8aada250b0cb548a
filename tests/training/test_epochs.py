import contextlib

import keras
import numpy as np
import pytest

from keras_inat.store.runs import create_run
from keras_inat.training import epochs
from keras_inat.training.epochs import EpochEnd, StepProgress, format_epoch
from keras_inat.training.session import fit


@pytest.fixture
def displays(monkeypatch):
    """Records every progress display: its arguments, the images of each advance, and its end."""
    displays = []

    @contextlib.contextmanager
    def record(description, total, unit, completed, transient):
        advances = []
        displays.append((description, total, unit, completed, transient, advances))
        try:
            yield advances.append
        finally:
            advances.append("closed")

    monkeypatch.setattr(epochs, "track_progress", record)
    return displays


@pytest.mark.parametrize(("steps_per_execution", "advances"), [(1, [4, 4, 4]), (2, [8])])
def test_every_epoch_shows_its_images(displays, monkeypatch, steps_per_execution, advances):
    monkeypatch.setattr(epochs, "SECONDS_BETWEEN_UPDATES", 0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=steps_per_execution)
    progress = StepProgress("seed 0", 10, batch_size=4)
    model.fit(np.zeros((16, 3)), np.zeros((16, 1)), batch_size=4, epochs=2, verbose=0, callbacks=[progress])
    assert displays == [
        ("seed 0 epoch  1/10", 16, "images", 0, True, [*advances, "closed"]),
        ("seed 0 epoch  2/10", 16, "images", 0, True, [*advances, "closed"]),
    ]


def test_a_bar_appears_after_a_second(displays, monkeypatch):
    clock = iter([10.0, 10.0, 10.9, 11.1, 11.2, 12.1])
    monkeypatch.setattr(epochs.time, "monotonic", lambda: next(clock))
    progress = StepProgress("seed 0", 2, batch_size=4)
    progress.set_params({"steps": 6})
    progress.on_epoch_begin(0)
    for batch in range(5):
        progress.on_train_batch_begin(batch)
    progress.on_epoch_end(0)
    assert displays == [("seed 0 epoch 1/2", 24, "images", 2 * 4, True, [2 * 4, "closed"])]


def test_a_short_epoch_has_no_bar(displays, monkeypatch):
    clock = iter([10.0, 10.1, 10.9])
    monkeypatch.setattr(epochs.time, "monotonic", lambda: next(clock))
    progress = StepProgress("seed 0", 2, batch_size=4)
    progress.on_epoch_begin(0)
    for batch in range(2):
        progress.on_train_batch_begin(batch)
    progress.on_epoch_end(0)
    assert displays == []


def test_an_interrupted_epoch_ends_its_display(make_config, displays, monkeypatch):
    def interrupt(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "SECONDS_BETWEEN_UPDATES", 0)
    monkeypatch.setattr(EpochEnd, "on_train_batch_begin", interrupt)
    config = make_config()
    with pytest.raises(KeyboardInterrupt):
        fit(config, create_run(config, "pretrain"), "seed 0")
    assert displays == [("seed 0 epoch 1/2", 24, "images", 0, True, [8, 8, "closed"])]


def test_epochs_are_aligned():
    assert [format_epoch(epoch, 120) for epoch in (3, 45, 120)] == ["  3/120", " 45/120", "120/120"]
