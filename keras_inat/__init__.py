"""keras-inat measures how well a folder of photographs can be classified.

The names of the API are loaded when they are first used, and TensorFlow when it is first needed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_inat.api import *  # noqa: F403

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Evaluation",
    "Explanations",
    "Prediction",
    "Predictions",
    "Run",
    "Runs",
    "Sweep",
    "UserError",
    "finetune",
    "load",
    "report",
    "results",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    # The rooms `report` and `sweep` are submodules with the name of a verb.
    if name in __all__:
        return getattr(importlib.import_module("keras_inat.api"), name)
    raise AttributeError(f"module 'keras_inat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
