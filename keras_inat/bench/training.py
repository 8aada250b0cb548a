"""Training benchmarks: single steps, whole epochs, and the head of a frozen backbone."""

import contextlib
import io
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_inat.data.dataset import open_data
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config, Model
from keras_inat.store.runs import create_run
from keras_inat.training.devices import choose_jit_compile
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.session import fit

NUM_CLASSES = 10
STEP_MODEL = Model(filters=32, filter_organization="same", kernel_size=3, batch_norm=True, dense_units=256)
STEP_SIZE = 128
FIT_EPOCHS = 4
HEAD_EPOCHS = 10


class EpochSpeed(NamedTuple):
    """Training images per second of one epoch."""

    complete: float  # with everything that the program writes
    bare: float  # without writing the checkpoint, the best model and the trackers


def make_batch(size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random pixels `(batch, size, size, 3)` uint8 and labels `(batch,)` int64."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(batch_size, size, size, 3), dtype=np.uint8)
    labels = rng.integers(NUM_CLASSES, size=batch_size)
    return pixels, labels


def step_keras(model: Model, size: int, batch_size: int) -> Iterator[Any]:
    """Trains our network on one batch endlessly. Yields the batch after each step."""
    network = clone_for_training(build_cnn(model, size, NUM_CLASSES), any_size=False)
    network.compile("adam", "categorical_crossentropy", jit_compile=choose_jit_compile())
    pixels, labels = make_batch(size, batch_size)
    targets = np.eye(NUM_CLASSES, dtype=np.float32)[labels]
    while True:
        network.train_on_batch(pixels, targets)
        yield pixels, targets


def time_epochs(config: Config) -> list[EpochSpeed]:
    """Trains a few epochs and returns the speeds of all but the first.

    Both speeds come from the same epoch, because two runs differ by more than the time for writing.
    """
    config = override(config, {"training.epochs": FIT_EPOCHS})
    run = create_run(config, "train-best")
    ends: list[float] = []

    def record_end(epoch: int) -> bool:
        ends.append(time.perf_counter())  # trackers that write later count in the next epoch
        return False

    with contextlib.redirect_stdout(io.StringIO()):
        fit(config, run, stop=record_end)
    num_images = len(open_data(config).training_rows)
    periods = [end - before for before, end in itertools.pairwise(ends)]
    return [
        EpochSpeed(num_images / period, num_images / epoch.seconds)
        for period, epoch in zip(periods, run.read_epochs()[1:], strict=True)
    ]


def fit_head(config: Config, cached: bool) -> Callable[[], float]:
    """Returns a turn that trains the head of a frozen backbone and returns its training images per second.

    Args:
        config: The configuration of a fine-tuning run.
        cached: Runs the backbone once over all images instead of in every epoch. Its time counts.
    """
    changed = override(config, {"finetune.cache_features": cached, "training.epochs": HEAD_EPOCHS})

    def turn() -> float:
        keras.utils.clear_session()
        data = open_data(changed)
        for path in data.directory.glob("features-*.npz"):
            path.unlink()
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            fit(changed, create_run(changed, "finetune"))
        return HEAD_EPOCHS * len(data.training_rows) / (time.perf_counter() - began)

    return turn
