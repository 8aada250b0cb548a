"""Tracks every epoch in W&B, MLflow and TensorBoard. Their failure stops no training: `metrics.jsonl` is the record."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_inat.files import remove
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.records import Epoch, Result
from keras_inat.store.runs import RunFolder
from keras_inat.training.mlflow_run import open_mlflow
from keras_inat.training.wandb_run import (
    SCALARS,
    choose_wandb_mode,
    close_wandb,
    is_installed,
    list_test_scores,
    open_wandb,
    select_tracked,
    track_epochs,
    write_evaluation,
)

INSTALL = "pip install 'keras-inat[tracking]'"


class Tracker(keras.callbacks.Callback):
    """Passes every epoch and the evaluation on the test images to one tracker, until it fails."""

    def __init__(
        self,
        name: str,
        run: RunFolder,
        write_epoch: Callable[[Epoch], None],
        write_result: Callable[[Result], None],
        close: Callable[[bool], None],
    ) -> None:
        super().__init__()
        self._name = name
        self._run = run
        self._write_epoch = write_epoch
        self._write_result = write_result
        self._close = close
        self._failed = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        epochs = {record.epoch: record for record in self._run.read_epochs()}
        self._try(lambda: self._write_epoch(epochs[epoch + 1]))

    def log_evaluation(self, result: Result) -> None:
        """Writes the scores on the test images, the predictions and the model."""
        self._try(lambda: self._write_result(result))

    def close(self, succeeded: bool) -> None:
        """Ends the record of the run."""
        try:
            self._close(succeeded)
        except Exception as error:
            if not self._failed:
                warn(f"{self._name} may lack the end of this run: {_shorten(error)}")

    def _try(self, write: Callable[[], None]) -> None:
        try:
            if not self._failed:
                write()
        except Exception as error:  # its process ended, the disk is full, its protocol has changed
            warn(f"{self._name} stops tracking this run, because it failed: {_shorten(error)}")
            self._failed = True


@contextlib.contextmanager
def open_tracking(config: Config, run: RunFolder, title: str | None = None) -> Iterator[list[Tracker]]:
    """Opens the records of a run in W&B, MLflow and TensorBoard and yields the callbacks that write them.

    W&B is offline unless the user is logged in. It never asks for input. By default, `title` is the name of the folder.
    A tracker that is not installed is skipped.
    """
    title = title or run.path.name
    trackers = []
    for name, is_chosen, open_tracker in (
        ("W&B", _is_wandb_chosen(config), _open_wandb),
        ("MLflow", config.tracking.mlflow, _open_mlflow),
        ("TensorBoard", config.tracking.tensorboard and is_installed("tensorboard"), _open_tensorboard),
    ):
        try:
            if is_chosen:
                trackers.append(Tracker(name, run, *open_tracker(config, run, title)))
        except Exception as error:
            warn(f"{name} does not track this run, because it failed: {_shorten(error)}")
    succeeded = False
    try:
        yield trackers
        succeeded = True
    finally:
        for tracker in trackers:
            tracker.close(succeeded)


# The functions that write an epoch and a result, and the one that ends the record, given whether the run succeeded.
Functions = tuple[Callable[[Epoch], None], Callable[[Result], None], Callable[[bool], None]]


def _is_wandb_chosen(config: Config) -> bool:
    if is_installed("wandb"):
        return choose_wandb_mode(config) != "disabled"
    if config.tracking.wandb in ("online", "offline"):
        warn(f"tracking.wandb={config.tracking.wandb} has no effect, because W&B is not installed: {INSTALL}")
    return False


def _open_wandb(config: Config, run: RunFolder, title: str) -> Functions:
    tracked = open_wandb(config, run, title, choose_wandb_mode(config))
    return (
        track_epochs(run, tracked),
        lambda result: write_evaluation(tracked, run, result),
        lambda succeeded: close_wandb(tracked, succeeded),
    )


def _open_mlflow(config: Config, run: RunFolder, title: str) -> Functions:
    tracked = open_mlflow(config, run, title)
    return tracked.write_epoch, tracked.write_result, tracked.close


def _open_tensorboard(config: Config, run: RunFolder, title: str) -> Functions:
    """Writes the settings for TensorBoard's HParams panel and the epochs so far, as scalars."""
    from tensorboard.plugins.hparams import api as hparams

    # The log of a resumed run may lack an epoch or have one too many. It is written anew.
    remove(run.tensorboard)
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with writer.as_default():
        hparams.hparams(select_tracked(config), trial_id=f"{config.run.name}-{run.path.name}")

    def write_epoch(epoch: Epoch) -> None:
        with writer.as_default():
            for name in SCALARS:
                tf.summary.scalar(name, getattr(epoch, name), step=epoch.epoch)
        writer.flush()

    def write_result(result: Result) -> None:
        with writer.as_default():
            for name, score in list_test_scores(result).items():
                tf.summary.scalar(name, score, step=result.best_epoch)
        writer.flush()

    for epoch in run.read_epochs():
        write_epoch(epoch)
    return write_epoch, write_result, lambda succeeded: _close_tensorboard(writer, run)


def _close_tensorboard(writer: tf.summary.SummaryWriter, run: RunFolder) -> None:
    """Ends the log. TensorFlow names its file after this host, and records are shared."""
    writer.close()
    for path in run.tensorboard.glob("events.out.tfevents.*"):
        path.rename(path.with_name(".".join(path.name.split(".")[:4])))


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
