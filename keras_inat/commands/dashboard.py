"""The command `dashboard`: TensorBoard over all runs."""

import importlib.util
import os
import sys
from pathlib import Path

from keras_inat.errors import PROGRAM, UserError
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Replaces this process by TensorBoard, which serves this machine only until it is interrupted."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("TensorBoard is not installed: pip install 'keras-inat[tracking]'")
    if not any(Path(config.run.directory).glob("*/*")):
        raise UserError(f"{config.run.directory!r} contains no runs: run `{PROGRAM} demo` or `{PROGRAM} sweep` first")
    os.execv(sys.executable, [sys.executable, "-m", "tensorboard.main", "--logdir", config.run.directory])
