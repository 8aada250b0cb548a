"""The progress bar of an epoch."""

import contextlib
import time
from typing import Any

import keras

from keras_inat.progress import Advance, track_progress

# A redraw takes some milliseconds of training time. A shorter epoch has no bar.
SECONDS_BETWEEN_UPDATES = 1.0


class StepProgress(keras.callbacks.Callback):
    """Shows the progress within each epoch. It comes before `EpochEnd`, which prints a line.

    Args:
        label: Begins the description.
        epochs: Number of planned epochs.
        batch_size: Images of a step.
    """

    def __init__(self, label: str, epochs: int, batch_size: int) -> None:
        super().__init__()
        self._label = label
        self._epochs = epochs
        self._batch_size = batch_size
        self._display = contextlib.ExitStack()
        self._advance: Advance | None = None
        self._description = ""
        self._steps_shown = 0
        self._updated_at = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._description = f"{self._label} epoch {format_epoch(epoch + 1, self._epochs)}"
        self._updated_at = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # `batch` is the number of steps done. It grows by the steps per execution. `on_train_batch_end` would wait for
        # the GPU.
        now = time.monotonic()
        if now - self._updated_at < SECONDS_BETWEEN_UPDATES:
            return
        if self._advance is None:
            self._advance = self._open_display(batch)
        else:
            self._advance((batch - self._steps_shown) * self._batch_size)
        self._steps_shown = batch
        self._updated_at = now

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar."""
        self._display.close()
        self._advance = None

    def _open_display(self, steps_done: int) -> Advance:
        bar = track_progress(
            self._description,
            self.params["steps"] * self._batch_size,
            "images",
            completed=steps_done * self._batch_size,
            transient=True,
        )
        return self._display.enter_context(bar)


def format_epoch(epoch: int, epochs: int) -> str:
    """Returns an epoch and the number of epochs, such as " 3/12"."""
    return f"{epoch:>{len(str(epochs))}}/{epochs}"
