"""The sides of the comparison of predictions: decoding beside the network, and one after the other."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_inat.data.decode import decode_image
from keras_inat.data.reading import decode_files
from keras_inat.export.graph import build_export_model
from keras_inat.models.prediction import predict_images
from keras_inat.models.predictors import Function, Predictor, open_onnx
from keras_inat.progress import hide_startup_messages
from keras_inat.store.records import Preparation


def export_to_onnx(model: Any, path: Path) -> Predictor:
    """Exports a model to ONNX and opens it.

    Raises:
        ImportError: A package of the extra `export` is not installed.
    """
    with hide_startup_messages(), warnings.catch_warnings(action="ignore"):
        build_export_model(model).export(str(path), format="onnx", verbose=False)
    return open_onnx(path)


def predict_streamed(paths: Sequence[Path], size: int, predict: Function) -> None:
    """Predicts image files as the command `predict` does: images are decoded while others are predicted."""
    files = ((path.name, path) for path in paths)
    with contextlib.closing(decode_files(files, size, Preparation())) as images:
        for _ in predict_images(predict, images):
            pass


def predict_in_turns(paths: Sequence[Path], size: int, predict: Function) -> None:
    """Predicts image files in one thread: a batch is decoded, then it is predicted."""
    for _ in predict_images(predict, ((path.name, decode_image(path.read_bytes(), size)) for path in paths)):
        pass
