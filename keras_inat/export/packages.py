"""The packages that each format needs, beside TensorFlow. It imports none of them, so a missing one is known early."""

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable

from keras_inat.errors import UserError, join_names

# Names of modules and of their packages.
ONNX = {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"}
LITERT = {"ai_edge_litert": "ai-edge-litert"}
PACKAGES: dict[str, dict[str, str]] = {"onnx": ONNX, "litert": LITERT, "litert-int8": LITERT, "savedmodel": {}}


def list_missing(formats: Iterable[str]) -> list[str]:
    """Returns the packages that the formats need and that are not installed."""
    needed = dict[str, str]()
    for name in formats:
        needed |= PACKAGES[name]
    return [package for module, package in needed.items() if importlib.util.find_spec(module) is None]


def check_packages(formats: Iterable[str]) -> None:
    """Raises a `UserError` if a package that the formats need is not installed."""
    formats = list(formats)
    if missing := list_missing(formats):
        raise UserError(
            f"FORMAT={','.join(formats)} needs {join_names(missing)}, which is not installed: "
            "pip install 'keras-inat[export]'"
        )


def describe_runtime(packages: Iterable[str]) -> str:
    """Returns the name and version of the first of the packages that is installed."""
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{package} {importlib.metadata.version(package)}"
    return "unknown"
