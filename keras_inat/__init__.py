# ruff: noqa: F403, F405 (a type checker sees the names below, and Python loads them when they are used)
"""keras-inat measures how well a folder of photographs can be classified.

The names of the API are loaded when they are first used, and TensorFlow when it is first needed.
"""

from __future__ import annotations

import importlib
import os

TYPE_CHECKING = False  # the constant of `typing`, whose import takes longer than this module
if TYPE_CHECKING:
    from typing import Any

    from keras_inat.api import *

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Evaluation",
    "Explanations",
    "Page",
    "Prediction",
    "Predictions",
    "Run",
    "Runs",
    "SuspectRun",
    "Sweep",
    "UserError",
    "finetune",
    "load",
    "report",
    "results",
    "suspects",
    "sweep",
    "train",
]

# TensorFlow switches oneDNN off on CPUs without AVX-512 VNNI, where a step of the CNN then takes almost twice as long.
# It reads this variable once, when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("keras_inat.api"), name)
    raise AttributeError(f"module 'keras_inat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
