"""TensorBoard over all runs."""

import os
import sys
from pathlib import Path

from keras_inat.errors import UserError
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Becomes TensorBoard, until it is interrupted; on this machine only."""
    if not any(Path(config.run.directory).glob("*/*")):
        raise UserError(f"there are no runs in {config.run.directory!r} yet: run `make demo` or `make sweep` first")
    os.execv(sys.executable, [sys.executable, "-m", "tensorboard.main", "--logdir", config.run.directory])
