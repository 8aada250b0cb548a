"""The benchmarks: loading, serving, training, fine-tuning and indexing, each beside a baseline."""

import contextlib
import importlib.util
import io
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_inat.bench import baselines, predicting, samples, training
from keras_inat.bench.comparison import (
    Comparison,
    Turn,
    compare,
    print_comparisons,
    print_row,
    stream,
    stream_apart,
    time_once,
)
from keras_inat.bench.indexing import time_indexing
from keras_inat.data.dataset import Dataset, open_data
from keras_inat.data.pipeline import build_training_batches
from keras_inat.data.source import open_source
from keras_inat.models.predictors import wrap_model
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Augment, Config, Data, Finetune, Model, Training
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.session import build_model
from keras_inat.workers import list_cores

SIZES = (64, 128, 224)
TRAINING_SIZE = 64
HEAD_SIZE = 160
BATCH_SIZE = 64
NUM_CLASSES = 10
NUM_INDEXED = 100_000
DATA_ROUNDS = 3
TRAINING_ROUNDS = 7
HEAD_ROUNDS = 3
SERVE_SECONDS = 0.8
TRAINING_SECONDS = 2.0
NO_AUGMENTATION = Augment(flip=False, crop=1.0, color=0.0)

# The sides of the comparisons.
BUILD = "build"
BUILD_MORE = "build with a margin for crops"
DECODE = "decode and resize only"
SERVE = "serve"
SERVE_AUGMENTED = "serve augmented"
TORCH = "PyTorch DataLoader over Pillow"
KERAS = "image_dataset_from_directory"
TRAIN = "train"
TRAIN_AUGMENTED = "train augmented"
ONE_BATCH = "train on one batch, repeated"
STEP = "training step"
STEP_POOL_FIRST = "training step, pool_first"
TORCH_STEP = "PyTorch, eager, channels first"
FIT = "fit with checkpoints and logs"
BARE_FIT = "same epochs without writing"
PREDICT_ONNX = "predict in ONNX Runtime"
PREDICT_KERAS = "predict in Keras"
PREDICT_IN_TURNS = "Keras, decode then predict"
HEAD_CACHED = "head on cached features"
HEAD_UNCACHED = "head, backbone in each epoch"

BUILDING = (Comparison(BUILD, DECODE), Comparison(BUILD_MORE, DECODE))
SERVING = (
    Comparison(SERVE, TORCH),
    Comparison(SERVE, KERAS),
    Comparison(SERVE_AUGMENTED, TORCH),
    Comparison(SERVE_AUGMENTED, KERAS),
)
TRAINING = (Comparison(TRAIN, ONE_BATCH), Comparison(TRAIN_AUGMENTED, ONE_BATCH))
STEPPING = (Comparison(STEP, TORCH_STEP), Comparison(STEP_POOL_FIRST, TORCH_STEP))
PREDICTING = (Comparison(PREDICT_ONNX, PREDICT_IN_TURNS), Comparison(PREDICT_KERAS, PREDICT_IN_TURNS))
FITTING = (Comparison(FIT, BARE_FIT),)
HEADS = (Comparison(HEAD_CACHED, HEAD_UNCACHED),)


def print_benchmarks(config: Config) -> None:
    """Runs all benchmarks and prints a row for each comparison, first those on the images of `data.source`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = open_source(config)
        original = samples.write_originals(source, folder / "original" / source.name)
        large = samples.write_large(original, folder / "large" / "{}x{}".format(*samples.LARGE))
        print(
            f"{len(list_cores())} cores, batches of {BATCH_SIZE}. Each row shows the median images per second of both "
            "sides, and the median\nratio with its range.\n"
        )
        print_row("images", "px", "ours", "baseline", f"{'ours':>9}{'baseline':>9}{'ratio':>9}")
        for images in (original, large):
            for size in SIZES:
                _compare_building(images, size)
                _compare_serving(images, size)
        _compare_predictions(large, folder / "model.onnx")
        _compare_training(original)
        _compare_fits(original)
        _compare_steps()
        print(f"\nindexing of {NUM_INDEXED:,} images, without their pixels")
        for phase, seconds in time_indexing(NUM_INDEXED, folder / "indexed"):
            print(f"{phase:40}{seconds:8.1f} s", flush=True)
        print("\nfine-tuning, the longest benchmark")
        _compare_heads(original)


def _compare_building(images: Path, size: int) -> None:
    paths = sorted(images.glob("*/*/*"))

    def build(augment: Augment) -> Turn:
        config = _configure(images, size, augment)

        def turn() -> float:
            shutil.rmtree(config.data.directory, ignore_errors=True)
            return time_once(lambda: _load(config), len(paths))

        return turn

    sides = {
        BUILD: build(NO_AUGMENTATION),
        BUILD_MORE: build(Augment()),
        DECODE: lambda: time_once(lambda: baselines.decode_all(paths, size, len(list_cores())), len(paths)),
    }
    compare(images.name, size, BUILDING, sides, DATA_ROUNDS)


def _compare_serving(images: Path, size: int) -> None:
    streams = {
        SERVE: _serve(_configure(images, size, NO_AUGMENTATION)),
        SERVE_AUGMENTED: _serve(_configure(images, size, Augment())),
        KERAS: baselines.open_keras(images / "train", size, BATCH_SIZE),
    }
    sides = {name: stream(batches, SERVE_SECONDS) for name, batches in streams.items()}
    arguments = (images / "train", size, BATCH_SIZE, len(list_cores()))
    with _open_torch(TORCH, baselines.open_torch, arguments, SERVE_SECONDS) as peers:
        compare(images.name, size, SERVING, sides | peers, DATA_ROUNDS)


def _compare_training(images: Path) -> None:
    config = _configure(images, TRAINING_SIZE, NO_AUGMENTATION)
    model = clone_for_training(build_model(config, len(_load(config).classes)), any_size=False)
    model.compile("adamw", "categorical_crossentropy", jit_compile=False)

    def train(batches: Iterator[Any]) -> Turn:
        def steps() -> Iterator[Any]:
            for pixels, labels in batches:
                model.train_on_batch(pixels, labels)
                yield pixels, labels

        return stream(steps(), TRAINING_SECONDS)

    sides = {
        TRAIN: train(_serve(config)),
        TRAIN_AUGMENTED: train(_serve(_configure(images, TRAINING_SIZE, Augment()))),
        ONE_BATCH: train(itertools.repeat(next(_serve(config)))),
    }
    compare(images.name, TRAINING_SIZE, TRAINING, sides, TRAINING_ROUNDS)


def _compare_predictions(images: Path, file: Path) -> None:
    paths = sorted(images.glob("*/*/*"))
    model = build_model(_configure(images, TRAINING_SIZE, NO_AUGMENTATION), NUM_CLASSES)
    runtimes = {PREDICT_KERAS: wrap_model(model)}
    with contextlib.suppress(ImportError):
        runtimes[PREDICT_ONNX] = predicting.export_to_onnx(model, file)

    def predict(function: Callable[..., None], runtime: str) -> Turn:
        run = runtimes[runtime].predict
        return lambda: time_once(lambda: function(paths, TRAINING_SIZE, run), len(paths))

    sides = {name: predict(predicting.predict_streamed, name) for name in runtimes}
    sides[PREDICT_IN_TURNS] = predict(predicting.predict_in_turns, PREDICT_KERAS)
    possible = tuple(comparison for comparison in PREDICTING if comparison.ours in sides)
    compare(images.name, TRAINING_SIZE, possible, sides, DATA_ROUNDS)


def _compare_fits(images: Path) -> None:
    config = _configure(images, TRAINING_SIZE, NO_AUGMENTATION)
    config = override(config, {"tracking.wandb": "offline", "run.directory": str(images.parent.parent / "runs")})
    _load(config)
    epochs = training.time_epochs(config)
    speeds = [{FIT: epoch.complete, BARE_FIT: epoch.bare} for epoch in epochs]
    print_comparisons(images.name, TRAINING_SIZE, FITTING, speeds)


def _compare_heads(images: Path) -> None:
    config = _configure(images, HEAD_SIZE, NO_AUGMENTATION)
    config = config.model_copy(update={"finetune": Finetune(weights="none")})
    config = override(config, {"tracking.wandb": "disabled", "run.directory": str(images.parent.parent / "runs")})
    _load(config)
    sides = {HEAD_CACHED: training.fit_head(config, True), HEAD_UNCACHED: training.fit_head(config, False)}
    compare(images.name, HEAD_SIZE, HEADS, sides, HEAD_ROUNDS)


def _compare_steps() -> None:
    models = {STEP: training.STEP_MODEL, STEP_POOL_FIRST: training.STEP_MODEL.model_copy(update={"pool_first": True})}
    size = training.STEP_SIZE
    streams = {name: training.step_keras(model, size, BATCH_SIZE) for name, model in models.items()}
    sides = {name: stream(steps, TRAINING_SECONDS) for name, steps in streams.items()}
    arguments = (training.STEP_MODEL, *training.make_batch(size, BATCH_SIZE))
    with _open_torch(TORCH_STEP, baselines.step_torch, arguments, TRAINING_SECONDS) as peers:
        compare("random", size, STEPPING, sides | peers, TRAINING_ROUNDS)


@contextlib.contextmanager
def _open_torch(
    name: str, open_batches: Callable[..., Iterator[Any]], arguments: tuple[Any, ...], seconds: float
) -> Iterator[dict[str, Turn]]:
    """Yields the side of PyTorch by its name. It has a process of its own; there is none without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        yield {}
        return
    with stream_apart(open_batches, *arguments, seconds=seconds) as turn:
        yield {name: turn}


def _configure(images: Path, size: int, augment: Augment) -> Config:
    return Config(
        data=Data(source=str(images), directory=str(images.parent.parent / "packs"), image_size=size),
        augment=augment,
        model=Model(filters=32, filter_organization="double"),
        training=Training(batch_size=BATCH_SIZE),
    )


def _load(config: Config) -> Dataset:
    # Progress and warnings about duplicates would interrupt the table.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return open_data(config)


def _serve(config: Config) -> Iterator[Any]:
    data = _load(config)
    batches = build_training_batches(data.training_images, data.labels, data.training_rows, len(data.classes), config)
    return iter(batches)
