"""Trained models as functions from pixels to probabilities: an export in ONNX Runtime, or the model in Keras.

The import of this module imports neither TensorFlow nor ONNX Runtime. An exported model needs no TensorFlow at all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_inat.errors import PROGRAM
from keras_inat.log import warn
from keras_inat.progress import import_quietly
from keras_inat.store.exports import ExportContract, find_export
from keras_inat.store.records import DataSummary
from keras_inat.store.runs import RunFolder
from keras_inat.workers import list_cores

ONNX_FILE = "model.onnx"
PROBABILITIES = "probabilities"  # an output of every export
MAPS = "class_activation_maps"  # an output of some
QUIET = 3  # ONNX Runtime then reports errors only
Function = Callable[[np.ndarray], np.ndarray]


class Predictor(NamedTuple):
    """A trained model as functions of pixels `(batch, size, size, 3)` uint8."""

    runtime: str  # its name and version
    predict: Function  # the probabilities `(batch, classes)` float32, before temperature scaling
    compute_maps: Function | None = None  # class activation maps `(batch, height, width, classes)` float32
    model: Any = None  # the Keras model, where Keras is the runtime


def open_export(run: RunFolder, data: DataSummary | None = None) -> Predictor | None:
    """Opens the ONNX model of a run that agrees with its Keras model and fits the images and classes of `data`.

    Returns None if there is none and, with a warning, if it cannot be used.
    """
    found = find_export(run, "onnx")  # warns about a lost one
    if not (run.export / ONNX_FILE).is_file():
        return None
    problem = "does not belong to best.keras, or it was not compared with it"
    if found and _fits(found[1], data):
        try:
            return open_onnx(found[0])
        except ModuleNotFoundError:
            problem = "needs ONNX Runtime (pip install 'keras-inat[export]')"
        except Exception as error:  # ONNX Runtime has its own types of exceptions
            problem = f"cannot be loaded ({' '.join(str(error).split())[:200]})"
    again = f"`{PROGRAM} export RUN={run.path}` exports it again"
    warn(f"{run.export / ONNX_FILE} {problem}: Keras predicts instead, and {again}")
    return None


def wrap_model(model: Any) -> Predictor:
    """Returns the predictor of a Keras model."""
    keras = import_quietly("keras")

    def predict(pixels: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(model(pixels.astype(np.float32), training=False))

    return Predictor(f"Keras {keras.__version__}", predict, model=model)


def open_onnx(path: Path) -> Predictor:
    """Opens an exported ONNX model on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = len(list_cores())
    # A thread that waits must not use up a core, because images are decoded at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    [image] = session.get_inputs()
    has_maps = MAPS in [output.name for output in session.get_outputs()]

    def compute(output: str) -> Function:
        return lambda pixels: session.run([output], {image.name: pixels})[0]

    maps = compute(MAPS) if has_maps else None
    return Predictor(f"ONNX Runtime {onnxruntime.__version__}", compute(PROBABILITIES), maps)


def _fits(contract: ExportContract, data: DataSummary | None) -> bool:
    return data is None or (contract.classes == data.classes and contract.input.size == data.image_size)
