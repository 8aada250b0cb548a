"""The progress bar of an epoch."""

import contextlib
from typing import Any

import keras

from keras_inat.progress import Advance, track_progress


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
        self._advance: Advance = lambda count: None
        self._steps_done = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        description = f"{self._label} epoch {format_epoch(epoch + 1, self._epochs)}"
        num_images = self.params["steps"] * self._batch_size
        bar = track_progress(description, num_images, "images", transient=True)
        self._advance = self._display.enter_context(bar)
        self._steps_done = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # With steps per execution above 1, `batch` grows by as many. `on_train_batch_end` would wait for the GPU.
        self._advance((batch - self._steps_done) * self._batch_size)
        self._steps_done = batch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar."""
        self._display.close()


def format_epoch(epoch: int, epochs: int) -> str:
    """Returns an epoch and the number of epochs, such as " 3/12"."""
    return f"{epoch:>{len(str(epochs))}}/{epochs}"
