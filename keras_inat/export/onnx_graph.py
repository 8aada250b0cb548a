"""ONNX, for onnxruntime on any device and in the browser: Keras's own export, by tf2onnx."""

import contextlib
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inat.models import predictors
from keras_inat.store.exports import ExportContract


def write_onnx(model: keras.Model, path: Path, contract: ExportContract, _: np.ndarray | None = None) -> None:
    """Writes a model of `build_export_model`, with its contract as metadata."""
    import onnx

    _support_gelu()
    model.export(str(path), format="onnx", verbose=False)
    graph = onnx.load(path)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph.producer_name = "keras-inat"
    graph.producer_version = contract.keras_inat
    graph.doc_string = contract.card
    metadata = {
        "classes": json.dumps(contract.classes),
        "license": contract.license or "not stated",
        "contract": contract.model_dump_json(exclude={"files"}),
    }
    onnx.helper.set_model_props(graph, metadata)
    onnx.save(graph, path)


def open_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Opens a model in onnxruntime on the processor. Returns a function from uint8 images to probabilities."""
    return predictors.open_onnx(path).predict


@functools.cache
def _support_gelu() -> None:
    """Adds the complementary error function to tf2onnx, which Keras's GELU uses: `erfc(x) = 1 - erf(x)`."""
    from tf2onnx.handler import tf_op

    with contextlib.suppress(ImportError):  # a later version may have it
        from tf2onnx.onnx_opset.math import Erfc  # noqa: F401

        return

    @tf_op("Erfc")
    class _Erfc:
        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            [output] = node.output
            shape = graph.get_shape(output)
            dtype = graph.get_dtype(output)
            [x] = node.input
            graph.remove_node(node.name)
            erf = graph.make_node("Erf", [x], shapes=[shape], dtypes=[dtype])
            one = graph.make_const(f"{node.name}_one", np.array(1, np.float32))
            inputs = [one.output[0], erf.output[0]]
            graph.make_node("Sub", inputs, outputs=[output], name=node.name, shapes=[shape], dtypes=[dtype])
