"""A tiny data set of photographs and a configuration to go with it, in a temporary working folder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before TensorFlow is imported: no start-up messages, and W&B never looks for a login or a network.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["WANDB_MODE"] = "offline"

import numpy as np
import pytest
from PIL import Image

from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Config

COLORS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, where `data/`, `runs/` and `reports/` appear."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return tmp_path


@pytest.fixture
def describe_result() -> Callable[..., dict[str, Any]]:
    """What a finished run's `result.json` says at the least; keyword arguments say it of its data."""

    def describe(**data: Any) -> dict[str, Any]:
        return {
            "name": "train",
            "seed": 0,
            "config": Config().model_dump(mode="json"),
            "data": {
                "name": "photos",
                "hash": "abc",
                "classes": list(COLORS),
                "counts": {"train": 24, "validation": 6, "test": 12},
                "per_class": {"train": [10] * 3, "test": [4] * 3},
                "quarantined": [],
                "leaked": [],
                "image_size": 16,
            }
            | data,
            "val_accuracy": 0.5,
            "best_epoch": 1,
            "epochs": 1,
            "seconds": 1.0,
            "images_per_second": 1.0,
            "parameters": 1,
            "macs": 1,
            "packages": {},
            "commit": None,
            "test_accuracy": 0.5,
            "test_interval": [0.4, 0.6],
            "test_images": 100,
        }

    return describe


@pytest.fixture
def describe_epoch() -> Callable[..., dict[str, Any]]:
    """A line of a run's `metrics.jsonl`."""

    def describe(epoch: int, val_accuracy: float) -> dict[str, Any]:
        measured = {"loss": 1.5, "accuracy": 0.5, "val_loss": 1.5, "val_accuracy": val_accuracy}
        return {"epoch": epoch, "stage": "scratch"} | measured | {"seconds": 7.5, "images_per_second": 9.0}

    return describe


@pytest.fixture
def write_photos() -> Callable[..., Path]:
    """Writes a data set of noisy one-coloured images, all different, into a folder."""

    def write(folder: Path, num_train: int = 10, num_test: int = 4, side: int = 24) -> Path:
        rng = np.random.default_rng(0)
        for split, count in (("train", num_train), ("val", num_test)):
            for name, color in COLORS.items():
                directory = folder / split / name
                directory.mkdir(parents=True)
                for index in range(count):
                    pixels = rng.normal(color, 40, (side, side + 4, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(directory / f"{index}.png")
        return folder

    return write


@pytest.fixture
def photos(workplace: Path, write_photos: Callable[..., Path]) -> Path:
    return write_photos(workplace / "photos")


@pytest.fixture
def make_config(photos: Path) -> Callable[..., Config]:
    """A configuration small enough to train in a second; arguments are `section.key=value`."""

    def make(*arguments: str) -> Config:
        small = [
            f"DATA={photos}",
            "data.image_size=16",
            "model.num_blocks=2",
            "model.filters=4",
            "model.dense_units=8",
            "training.epochs=2",
            "training.batch_size=8",
            "augment.flip=false",
            "augment.crop=1.0",
            "augment.color=0.0",
            "tracking.wandb=disabled",
            "tracking.tensorboard=false",
        ]
        return load_config([*small, *arguments])

    return make
