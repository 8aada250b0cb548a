"""The one logger for warnings, `keras_inat`. They go to stderr, a line each, in the form `warning: …`."""

import logging
import sys
from typing import TextIO

from keras_inat.errors import format_message

logger = logging.getLogger("keras_inat")


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to `sys.stderr` as it is at the time of the message, so that redirecting it works."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def warn(message: str) -> None:
    """Logs a warning: what happened, and what to do about it."""
    if not logger.handlers:
        logger.propagate = False  # TensorFlow gives the root logger another format
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("warning: %(message)s"))
        logger.addHandler(handler)
    logger.warning("%s", format_message(message))
