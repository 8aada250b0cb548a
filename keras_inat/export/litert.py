"""LiteRT (formerly TensorFlow Lite), for phones and small devices, in float32 or with 8-bit integers."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_inat.models.predictors import PROBABILITIES
from keras_inat.store.exports import ExportContract


def write_litert(
    model: keras.Model, path: Path, contract: ExportContract, calibration: np.ndarray | None = None
) -> None:
    """Writes a model of `build_export_model`, in float32 or, with calibration images, mostly in 8-bit integers.

    As in the metadata of LiteRT, associated files are a ZIP archive behind the graph: `contract.json` and `labels.txt`,
    which has a class on each line.

    Args:
        model: The graph.
        path: The file.
        contract: The content of `contract.json`.
        calibration: `(images, size, size, 3)` uint8, the images that the ranges of the integers come from.
    """
    options: dict[str, object] = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if calibration is not None:

        def list_inputs() -> Iterator[list[np.ndarray]]:
            for image in calibration:
                yield [image[None]]

        operations = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        options = {
            "target_spec": {"supported_ops": operations},
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": list_inputs,
        }
    model.export(str(path), format="litert", verbose=False, **options)
    files = io.BytesIO()
    with zipfile.ZipFile(files, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("contract.json", contract.model_dump_json(indent=2, exclude={"files"}))
        archive.writestr("labels.txt", "".join(f"{' '.join(name.splitlines())}\n" for name in contract.classes))
    with open(path, "ab") as file:
        file.write(files.getvalue())


def open_litert(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Opens a model in LiteRT on all cores. Returns a function from uint8 images to probabilities."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()
    return lambda images: runner(image=images)[PROBABILITIES]
