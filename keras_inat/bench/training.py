"""What is timed of training: a step of the published systems' kind, and a whole `fit` with what it writes."""

import contextlib
import importlib
import io
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_inat.data.packs import load_pack
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config, Model
from keras_inat.store.runs import create_run
from keras_inat.training.devices import choose_compilation
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.session import fit

NUM_CLASSES = 10
STEP_MODEL = Model(filters=32, filter_organization="same", kernel_size=3, batch_norm=True, dense_units=256)
STEP_SIZE = 128
FIT_EPOCHS, HEAD_EPOCHS = 4, 10


def make_batch(size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels `(batch, size, size, 3)` uint8 and labels `(batch,)` int64."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(batch_size, size, size, 3), dtype=np.uint8)
    return pixels, rng.integers(NUM_CLASSES, size=batch_size)


def step_keras(model: Model, size: int, batch_size: int) -> Iterator[Any]:
    """Endless training steps of our network on one batch, which each of them gives."""
    network = clone_for_training(build_cnn(model, size, NUM_CLASSES), any_size=False)
    network.compile("adam", "categorical_crossentropy", jit_compile=choose_compilation())
    pixels, labels = make_batch(size, batch_size)
    targets = np.eye(NUM_CLASSES, dtype=np.float32)[labels]
    while True:
        network.train_on_batch(pixels, targets)
        yield pixels, targets


def step_torch(model: Model, pixels: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    """Endless training steps as PyTorch's users usually take them: eager, float32, channels first.

    Args:
        model: Of equal filters and kernels in all blocks, with batch normalisation and a dense layer.
        pixels: `(batch, size, size, 3)` uint8.
        labels: `(batch,)` int64.

    Raises:
        ImportError: When PyTorch is not installed.
    """
    torch: Any = importlib.import_module("torch")  # which the type checker need not know
    nn, layers, channels = torch.nn, [], 3
    for filters, kernel_size in zip(model.filters_per_block, model.kernel_sizes, strict=True):
        convolution = nn.Conv2d(channels, filters, kernel_size, padding="same")
        layers += [convolution, nn.BatchNorm2d(filters), nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    features = channels * (pixels.shape[1] // 2**model.num_blocks) ** 2
    layers += [nn.Flatten(), nn.Linear(features, model.dense_units), nn.ReLU(), nn.Linear(model.dense_units, 10)]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters())
    images, targets = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)

    def step() -> None:
        loss = nn.functional.cross_entropy(network(images.float() / 127.5 - 1), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def steps() -> Iterator[Any]:
        while True:
            step()
            yield images, targets

    return steps()


def fit_with_records(config: Config) -> list[tuple[float, float]]:
    """Training images a second of every epoch of a `fit` but the first: with all that is written, and without.

    The second leaves out what lies between one record of metrics and the next beyond training and validation: the
    checkpoint, the best model, the trackers. Both are of one epoch, for two runs differ by more than that.
    """
    config, ends = override(config, {"training.epochs": FIT_EPOCHS}), list[float]()
    run = create_run(config, "train-best")

    def note(epoch: int) -> bool:
        ends.append(time.perf_counter())  # what the trackers are yet to write of this epoch counts with the next
        return False

    with contextlib.redirect_stdout(io.StringIO()):
        fit(config, run, stop=note)
    images, rows = len(load_pack(config).split(config)[0]), run.read_metrics()
    periods = [end - before for before, end in itertools.pairwise(ends)]
    return [(images / period, images / row["seconds"]) for period, row in zip(periods, rows[1:], strict=True)]


def fit_head(config: Config, cached: bool) -> Callable[[], float]:
    """A turn of training the head of a frozen backbone; gives training images a second over all of it.

    With `cached` the backbone runs once over all images, which is in the time, and otherwise in every epoch.
    """
    changed = override(config, {"finetune.cache_features": cached, "training.epochs": HEAD_EPOCHS})

    def turn() -> float:
        keras.utils.clear_session()
        pack = load_pack(changed)
        for path in pack.directory.glob("features-*.npy"):
            path.unlink()
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            fit(changed, create_run(changed, "finetune"))
        return HEAD_EPOCHS * len(pack.split(changed)[0]) / (time.perf_counter() - began)

    return turn
