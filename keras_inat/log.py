"""The one logger for warnings. They go to stderr, a line each, in the form `warning: …`."""

import logging
import sys
from typing import TextIO

logger = logging.getLogger("keras_inat")


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to `sys.stderr` as it is at the time of the message, so that redirecting it works."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def set_up_logging() -> None:
    """Sends the program's warnings to stderr. A second call changes nothing."""
    if not logger.handlers:
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("warning: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def warn(message: str) -> None:
    """Logs a warning: what happened, and what to do about it."""
    set_up_logging()
    logger.warning("%s", message)
