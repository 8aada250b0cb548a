"""A finished run with a small CNN, made without training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_inat.export import parity
from keras_inat.models.cnn import build_cnn
from keras_inat.models.model_files import write_model
from keras_inat.settings.loading import load_config, override
from keras_inat.settings.schema import Config
from keras_inat.store.contracts import ModelContract
from keras_inat.store.predictions import ValidationSample
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder, create_run, finish_run

NUM_IMAGES = 9
SIZE = 16


@pytest.fixture(autouse=True)
def _time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times a batch once, in place of a second for each size."""
    monkeypatch.setattr(parity, "MIN_REPEATS", 1)
    monkeypatch.setattr(parity, "MAX_SECONDS", 0.0)


@pytest.fixture
def small() -> Config:
    """A CNN with every layer that the recipes have."""
    words = ["num_blocks=2", "filters=4", "activation=gelu", "pooling=average", "dense_units=0", "dropout=0.3"]
    return load_config([f"data.image_size={SIZE}", *(f"model.{word}" for word in words)])


@pytest.fixture
def add_run(build_result: Callable[..., Result], small: Config) -> Callable[..., tuple[RunFolder, Result]]:
    """Writes a run with random weights. `model` replaces its network, and keyword arguments fields of its data."""

    def add(model: keras.Model | None = None, directory: Path | str = "runs", **data: Any) -> tuple[RunFolder, Result]:
        config = override(small, {"run.directory": str(directory)})
        result = build_result(**data).model_copy(update={"config": config})
        run = create_run(config, "train-best", "small")
        keras.utils.set_random_seed(0)
        network = model or build_cnn(config.model, SIZE, len(result.data.classes))
        contract = ModelContract(classes=result.data.classes, image_size=SIZE, keras=keras.__version__, keras_inat="1")
        write_model(network, run.model, contract)
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (NUM_IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
        ValidationSample(pixels, np.arange(NUM_IMAGES) % len(result.data.classes)).write(run.sample)
        return run, finish_run(run, result)

    return add
