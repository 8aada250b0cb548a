"""How fast it is, as ratios of two things run side by side, since machines differ and are shared."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from keras_inat.config import Config, override
from keras_inat.data.pack import load_pack
from keras_inat.data.pipeline import build_training_batches
from keras_inat.training.loop import build_model

REPEATS = 5


def run(config: Config) -> None:
    """Prints a row a comparison: images a second of both sides, and the median of the ratios with their range."""
    config = override(config, {"data.source": "demo"})
    pack = load_pack(config)
    rows, _ = pack.split(config)
    num_classes, batch_size = len(pack.classes), config.training.batch_size

    def serve(settings: Config) -> Iterable[Any]:
        return build_training_batches(pack.train_images, pack.train_labels, rows, num_classes, settings)

    plain = serve(override(config, {"augment.flip": False, "augment.crop": 1.0}))
    augmented = serve(config)
    peer = keras.utils.image_dataset_from_directory(
        Path(config.data.directory) / "demo" / "train",  # the same files
        image_size=(pack.image_size,) * 2,
        batch_size=batch_size,
        label_mode="categorical",
        verbose=False,
    ).repeat()
    model = build_model(config, num_classes)
    model.compile("adamw", "categorical_crossentropy", jit_compile=False)
    batch = next(iter(augmented))

    def train_on_pipeline(num_batches: int) -> None:
        for images, labels in itertools.islice(augmented, num_batches):
            model.train_on_batch(images, labels)

    def train_on_one_batch(num_batches: int) -> None:
        for _ in range(num_batches):
            model.train_on_batch(*batch)

    print(f"{batch_size} images a batch, {pack.image_size} px, {REPEATS} pairs of runs; ratio: median (range)")
    decoding = _consume(peer)
    _compare("serve a pack / decode files each epoch (Keras)", _consume(plain), decoding, 200, batch_size)
    _compare("the same with flip and crop", _consume(augmented), decoding, 200, batch_size)
    _compare("train from the pipeline / on one repeated batch", train_on_pipeline, train_on_one_batch, 20, batch_size)


def _consume(batches: Iterable[Any]) -> Callable[[int], None]:
    def consume(num_batches: int) -> None:
        for _ in itertools.islice(batches, num_batches):
            pass

    return consume


def _compare(
    name: str, ours: Callable[[int], None], other: Callable[[int], None], num_batches: int, batch_size: int
) -> None:
    speeds: list[tuple[float, float]] = []
    for repeat in range(REPEATS + 1):
        pair = []
        for work in (ours, other):
            began = time.perf_counter()
            work(num_batches)
            pair.append(num_batches * batch_size / (time.perf_counter() - began))
        if repeat:  # the first pair warms up
            speeds.append((pair[0], pair[1]))
    ratios = sorted(first / second for first, second in speeds)
    medians = [statistics.median(side) for side in zip(*speeds, strict=True)]
    print(
        f"{name:50} {medians[0]:>9,.0f} / {medians[1]:>7,.0f} images/s = "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )
