"""TensorFlow's SavedModel, a folder for TensorFlow Serving and other programs with TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_inat.models.predictors import PROBABILITIES
from keras_inat.store.exports import ExportContract


def write_saved_model(model: keras.Model, path: Path, contract: ExportContract, _: np.ndarray | None = None) -> None:
    """Writes a model of `build_export_model`, with its contract in `assets.extra/`."""
    model.export(str(path), format="tf_saved_model", verbose=False)
    extra = path / "assets.extra"  # the folder for files of other programs
    extra.mkdir()
    (extra / "contract.json").write_text(contract.model_dump_json(indent=2, exclude={"files"}), encoding="utf-8")


def open_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Opens a model in TensorFlow, without Keras. Returns a function from uint8 images to probabilities."""
    layer = keras.layers.TFSMLayer(str(path), call_endpoint="serve")
    return lambda images: keras.ops.convert_to_numpy(layer(images)[PROBABILITIES])
