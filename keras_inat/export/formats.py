"""A table of the formats: their files, and how they are written and run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_inat.export import litert, onnx_graph, saved_model
from keras_inat.models.predictors import ONNX_FILE, Function
from keras_inat.store.exports import ExportContract

Write = Callable[[keras.Model, Path, ExportContract, np.ndarray | None], None]


@dataclass(frozen=True)
class Format:
    """A row of the table."""

    file: str  # in the folder of exports
    write: Write  # takes a model of `build_export_model`, the path, the contract and calibration images
    open: Callable[[Path], Function]
    runtime: tuple[str, ...]  # packages that run it, of which one is installed
    is_folder: bool = False
    is_integer: bool = False  # calibrated 8-bit integers, which do not agree to `MAX_DIFFERENCE`


FORMATS = {
    "onnx": Format(ONNX_FILE, onnx_graph.write_onnx, onnx_graph.open_onnx, ("onnxruntime",)),
    "litert": Format("model.tflite", litert.write_litert, litert.open_litert, ("ai-edge-litert",)),
    "litert-int8": Format(
        "model_int8.tflite", litert.write_litert, litert.open_litert, ("ai-edge-litert",), is_integer=True
    ),
    "savedmodel": Format(
        "saved_model",
        saved_model.write_saved_model,
        saved_model.open_saved_model,
        ("tensorflow", "tensorflow-cpu"),
        is_folder=True,
    ),
}
