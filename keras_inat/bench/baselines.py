"""Common ways to load a folder of images and to train a network.

This module imports little, because worker processes import it when they start.
"""

import importlib
import io
import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_inat.settings.schema import Model

# Images in an epoch, which repeats the files, so that the workers do not wait at the end of a short epoch.
EPOCH_SIZE = 100_000


def decode_all(paths: list[Path], size: int, num_workers: int) -> None:
    """Reads, decodes and resizes every file without keeping the pixels."""
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(_decode, paths, itertools.repeat(size), chunksize=16):
            pass


def _decode(path: Path, size: int) -> None:
    Image.open(io.BytesIO(path.read_bytes())).convert("RGB").resize((size, size))


class ImageFolder:
    """A PyTorch dataset that decodes with Pillow and converts like `Resize` and `ToTensor` of torchvision."""

    def __init__(self, folder: Path, size: int) -> None:
        classes = sorted(path.name for path in folder.iterdir())
        self.size = size
        self.files = [(path, classes.index(path.parent.name)) for path in sorted(folder.glob("*/*"))]
        self.repeats = -(-EPOCH_SIZE // len(self.files))

    def __len__(self) -> int:
        return len(self.files) * self.repeats

    def __getitem__(self, index: int) -> Any:
        import torch

        path, label = self.files[index % len(self.files)]
        with Image.open(path) as image:
            small = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
        return pixels.view(self.size, self.size, 3).permute(2, 0, 1).contiguous().float().div(255), label


def open_torch(folder: Path, size: int, batch_size: int, num_workers: int) -> Iterator[Any]:
    """Returns endless shuffled batches of PyTorch's `DataLoader`.

    Raises:
        ImportError: PyTorch is not installed.
    """
    torch_data: Any = importlib.import_module("torch.utils.data")  # the type checker does not know PyTorch
    loader = torch_data.DataLoader(
        ImageFolder(folder, size),
        batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=True,
        multiprocessing_context="spawn",  # a fork of a process with TensorFlow's threads may hang
    )
    return itertools.chain.from_iterable(itertools.repeat(loader))


def step_torch(model: Model, pixels: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    """Trains the same network in PyTorch endlessly, eager, float32, channels first. Yields the batch after each step.

    Args:
        model: A network with batch normalization and a dense layer.
        pixels: `(batch, size, size, 3)` uint8.
        labels: `(batch,)` int64.

    Raises:
        ImportError: PyTorch is not installed.
    """
    torch: Any = importlib.import_module("torch")  # the type checker does not know PyTorch
    nn = torch.nn
    layers = []
    channels = 3
    for filters, kernel_size in zip(model.filters_per_block, model.kernel_sizes, strict=True):
        convolution = nn.Conv2d(channels, filters, kernel_size, padding="same")
        layers += [convolution, nn.BatchNorm2d(filters), nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    features = channels * (pixels.shape[1] // 2**model.num_blocks) ** 2
    layers += [nn.Flatten(), nn.Linear(features, model.dense_units), nn.ReLU(), nn.Linear(model.dense_units, 10)]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters())
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    targets = torch.from_numpy(labels)

    def steps() -> Iterator[Any]:
        while True:
            loss = nn.functional.cross_entropy(network(images.float() / 127.5 - 1), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield images, targets

    return steps()


def open_keras(folder: Path, size: int, batch_size: int) -> Iterator[Any]:
    """Returns endless shuffled batches of `keras.utils.image_dataset_from_directory`."""
    import keras

    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=batch_size, label_mode="categorical", verbose=False
    )
    return iter(dataset.repeat())
