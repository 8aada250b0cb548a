"""The table of comparisons: what runs beside what, for how long, and how a row is printed."""

import contextlib
import io
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_inat.bench import peers, photos, training
from keras_inat.bench.bookkeeping import time_bookkeeping
from keras_inat.data.packs import load_pack
from keras_inat.data.pipeline import build_training_batches
from keras_inat.data.source import open_source
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Augment, Config, Data, Finetune, Model, Training
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.session import build_model
from keras_inat.workers import count_cores

SIZES = (64, 128, 224)
BATCH_SIZE = 64
NUM_NAMED = 1_000_000
TRAINING_SIZE, HEAD_SIZE = 64, 160
# In a round every side has its turn; every other round goes backwards.
BUILD_ROUNDS, SERVE_ROUNDS, TRAINING_ROUNDS, HEAD_ROUNDS = 3, 3, 7, 3
# A turn is timed once what was prepared during other turns is used up.
SETTLE_SECONDS, SERVE_SECONDS, TRAINING_SECONDS = 0.3, 0.8, 2.0
PLAIN = Augment(flip=False, crop=1.0, color=0.0)

BUILD, BUILD_MORE, BARE = "build", "build with room for crops", "decode and resize, nothing else"
SERVE, SERVE_AUGMENTED = "serve", "serve augmented"
TORCH, KERAS = "PyTorch DataLoader over Pillow", "image_dataset_from_directory"
TRAIN, TRAIN_AUGMENTED, ONE_BATCH = "train", "train augmented", "train on one batch, repeated"
STEP, STEP_POOL_FIRST, TORCH_STEP = "training step", "training step, pool_first", "PyTorch, eager, channels first"
FIT, BARE_FIT = "fit, with all it writes", "the same epochs without"
HEAD_ONCE, HEAD_EVERY = "head, backbone run once", "head, backbone run in 10 epochs"
BUILDING = ((BUILD, BARE), (BUILD_MORE, BARE))
SERVING = ((SERVE, TORCH), (SERVE, KERAS), (SERVE_AUGMENTED, TORCH), (SERVE_AUGMENTED, KERAS))
TRAINING = ((TRAIN, ONE_BATCH), (TRAIN_AUGMENTED, ONE_BATCH))
STEPPING = ((STEP, TORCH_STEP), (STEP_POOL_FIRST, TORCH_STEP))
FITTING = ((FIT, BARE_FIT),)
HEADS = ((HEAD_ONCE, HEAD_EVERY),)

# Does its work for a while, or once, and gives images a second.
Turn = Callable[[], float]


def print_table(config: Config) -> None:
    """Prints all rows, those of the images of `data.source` first."""
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), open_source(config)
        own = photos.write_own(source, folder / "own" / source.name)
        large = photos.write_large(own, folder / "large" / "{}x{}".format(*photos.LARGE))
        print(
            f"{count_cores()} cores, batches of {BATCH_SIZE}. Images a second of both sides, medians of their turns; "
            "the median of the ratios, and their range\n"
        )
        _print_row("images", "px", "ours", "beside", f"{'ours':>9}{'its':>9}{'ratio':>9}")
        for images in (own, large):
            for size in SIZES:
                _compare_building(images, size)
                _compare_serving(images, size)
        _compare_training(own)
        _compare_fits(own)
        _compare_steps()
        print(f"\nbookkeeping of {NUM_NAMED:,} images, without their pixels")
        for part, seconds in time_bookkeeping(NUM_NAMED, folder / "named"):
            print(f"{part:40}{seconds:8.1f} s", flush=True)
        print("\nfine-tuning, which takes longest")
        _compare_heads(own)


def _compare_building(images: Path, size: int) -> None:
    paths = sorted(images.glob("*/*/*"))

    def build(augment: Augment) -> Turn:
        config = _configure(images, size, augment)

        def turn() -> float:
            shutil.rmtree(config.data.directory, ignore_errors=True)
            return _time(lambda: _load(config), len(paths))

        return turn

    sides = {
        BUILD: build(PLAIN),
        BUILD_MORE: build(Augment()),
        BARE: lambda: _time(lambda: peers.decode_all(paths, size, count_cores()), len(paths)),
    }
    _compare(images.name, size, BUILDING, sides, BUILD_ROUNDS)


def _compare_serving(images: Path, size: int) -> None:
    streams = {
        SERVE: _serve(_configure(images, size, PLAIN)),
        SERVE_AUGMENTED: _serve(_configure(images, size, Augment())),
        KERAS: peers.open_keras(images / "train", size, BATCH_SIZE),
    }
    with contextlib.suppress(ImportError):
        streams[TORCH] = peers.open_torch(images / "train", size, BATCH_SIZE, count_cores())
    sides = {name: _stream(batches, SERVE_SECONDS) for name, batches in streams.items()}
    _compare(images.name, size, SERVING, sides, SERVE_ROUNDS)


def _compare_training(images: Path) -> None:
    config = _configure(images, TRAINING_SIZE, PLAIN)
    model = clone_for_training(build_model(config, len(_load(config).classes)), any_size=False)
    model.compile("adamw", "categorical_crossentropy", jit_compile=False)

    def train(batches: Iterator[Any]) -> Turn:
        def steps() -> Iterator[Any]:
            for pixels, labels in batches:
                model.train_on_batch(pixels, labels)
                yield pixels, labels

        return _stream(steps(), TRAINING_SECONDS)

    sides = {
        TRAIN: train(_serve(config)),
        TRAIN_AUGMENTED: train(_serve(_configure(images, TRAINING_SIZE, Augment()))),
        ONE_BATCH: train(itertools.repeat(next(_serve(config)))),
    }
    _compare(images.name, TRAINING_SIZE, TRAINING, sides, TRAINING_ROUNDS)


def _compare_fits(images: Path) -> None:
    config = _configure(images, TRAINING_SIZE, PLAIN)
    config = override(config, {"tracking.wandb": "offline", "run.directory": str(images.parent.parent / "runs")})
    _load(config)
    rounds = [dict(zip((FIT, BARE_FIT), speeds, strict=True)) for speeds in training.fit_with_records(config)]
    _print_comparisons(images.name, TRAINING_SIZE, FITTING, rounds)


def _compare_heads(images: Path) -> None:
    config = _configure(images, HEAD_SIZE, PLAIN)
    config = config.model_copy(update={"finetune": Finetune(weights="none")})
    config = override(config, {"tracking.wandb": "disabled", "run.directory": str(images.parent.parent / "runs")})
    _load(config)
    sides = {HEAD_ONCE: training.fit_head(config, True), HEAD_EVERY: training.fit_head(config, False)}
    _compare(images.name, HEAD_SIZE, HEADS, sides, HEAD_ROUNDS)


def _compare_steps() -> None:
    models = {STEP: training.STEP_MODEL, STEP_POOL_FIRST: training.STEP_MODEL.model_copy(update={"pool_first": True})}
    size = training.STEP_SIZE
    streams = {name: training.step_keras(model, size, BATCH_SIZE) for name, model in models.items()}
    with contextlib.suppress(ImportError):
        streams[TORCH_STEP] = training.step_torch(training.STEP_MODEL, *training.make_batch(size, BATCH_SIZE))
    sides = {name: _stream(steps, TRAINING_SECONDS) for name, steps in streams.items()}
    _compare("random", size, STEPPING, sides, TRAINING_ROUNDS)


def _configure(images: Path, size: int, augment: Augment) -> Config:
    return Config(
        data=Data(source=str(images), directory=str(images.parent.parent / "packs"), image_size=size),
        augment=augment,
        model=Model(filters=32, filter_organization="double"),
        training=Training(batch_size=BATCH_SIZE),
    )


def _load(config: Config) -> Any:
    # Neither its progress nor the copies it finds belong into the table.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return load_pack(config)


def _serve(config: Config) -> Iterator[Any]:
    pack = _load(config)
    rows, _ = pack.split(config)
    images = pack.training_images(config)
    return iter(build_training_batches(images, pack.train_labels, rows, len(pack.classes), config))


def _stream(batches: Iterator[Any], seconds: float) -> Turn:
    next(batches)  # starts workers, traces functions

    def turn() -> float:
        _consume(batches, SETTLE_SECONDS)
        return _consume(batches, seconds)

    return turn


def _consume(batches: Iterator[Any], seconds: float) -> float:
    """Images a second, over at least so many seconds."""
    began, count, taken = time.perf_counter(), 0, 0.0
    while taken < seconds:
        count += len(next(batches)[0])
        taken = time.perf_counter() - began
    return count / taken


def _time(work: Callable[[], Any], count: int) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def _compare(
    images: str, size: int, comparisons: tuple[tuple[str, str], ...], sides: dict[str, Turn], num_rounds: int
) -> None:
    """Lets all sides have their turns, round by round, then prints a row a comparison."""
    rounds = []
    for number in range(num_rounds):
        order = list(sides)[:: -1 if number % 2 else 1]
        rounds.append({name: sides[name]() for name in order})
    _print_comparisons(images, size, comparisons, rounds)


def _print_comparisons(
    images: str, size: int, comparisons: tuple[tuple[str, str], ...], rounds: list[dict[str, float]]
) -> None:
    for ours, other in comparisons:
        figures = "  PyTorch is not installed: pip install torch"
        if other in rounds[0]:
            first, second = (statistics.median(speeds[name] for speeds in rounds) for name in (ours, other))
            ratios = sorted(speeds[ours] / speeds[other] for speeds in rounds)
            figures = (
                f"{first:9,.0f}{second:9,.0f}{statistics.median(ratios):9.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
        _print_row(images, size, ours, other, figures)


def _print_row(images: str, size: int | str, ours: str, other: str, figures: str) -> None:
    print(f"{images:12}{size:>5}  {ours:27}{other:32}{figures}", flush=True)
