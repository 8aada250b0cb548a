"""Every epoch on record: our own `metrics.jsonl`, W&B and TensorBoard."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_inat.config import list_settings
from keras_inat.runs import RunFolder, append_jsonl
from keras_inat.sections import Config

# What identifies a configuration to a sweep's dashboards; paths and names would only be noise there.
TRACKED_SECTIONS = ("data", "augment", "model", "training", "finetune", "run")


class EpochLog(keras.callbacks.Callback):
    """Writes `metrics.jsonl` and the line that the user sees, an epoch at a time.

    Args:
        run: Where to write.
        epochs: Of the whole run, to show how far it is.
        images: Training images an epoch.
        label: What begins every line shown.

    Raises:
        FloatingPointError: When the loss is no longer finite, naming the epoch.
    """

    def __init__(self, run: RunFolder, epochs: int, images: int, label: str) -> None:
        super().__init__()
        self.run, self.epochs, self.images, self.label = run, epochs, images, label
        self.stage, self.best, self.rows = "", 0.0, list[dict[str, Any]]()
        self._began = self._tested = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = self._tested = time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        self._tested = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {key: round(float(value), 6) for key, value in logs.items()}  # float32 has no more digits
        seconds, training_seconds = time.perf_counter() - self._began, self._tested - self._began
        row = {"epoch": epoch + 1, "stage": self.stage, **logs}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row |= {"seconds": round(seconds, 3), "images_per_second": round(self.images / training_seconds, 1)}
        if not all(map(_is_finite, logs.values())):
            raise FloatingPointError(f"the loss is not finite in epoch {epoch + 1}: try a lower learning rate")
        append_jsonl(self.run.metrics, row)
        self.rows.append(row)
        self.best = max(self.best, row["val_accuracy"])
        print(
            f"{self.label} epoch {epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"
            f"  loss {row['loss']:.3f}  accuracy {row['accuracy']:6.1%}  validation {row['val_accuracy']:6.1%}"
            f"  best {self.best:6.1%}  {row['images_per_second']:.0f} images/s  {seconds:.1f} s",
            flush=True,
        )


@contextlib.contextmanager
def open_tracking(
    config: Config, run: RunFolder, group: str | None = None, title: str | None = None
) -> Iterator[list[keras.callbacks.Callback]]:
    """Opens this run's W&B run, called `title` in `group`, and TensorBoard log; gives the callbacks that fill them.

    W&B is offline unless the user is logged in, never asks for anything, and its failure never stops a training.
    """
    callbacks: list[keras.callbacks.Callback] = []
    with contextlib.ExitStack() as stack:
        if config.tracking.wandb != "disabled":
            callbacks += stack.enter_context(_open_wandb(config, run, group or config.run.name, title or run.path.name))
        if config.tracking.tensorboard:
            callbacks.append(TensorBoardLog(config, run))
        yield callbacks


class TensorBoardLog(keras.callbacks.Callback):
    """Scalars an epoch, and the hyperparameters for TensorBoard's HParams panel."""

    def __init__(self, config: Config, run: RunFolder) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(run.path / "tensorboard"))
        from tensorboard.plugins.hparams import api as hparams

        with self._writer.as_default():
            hparams.hparams(flatten(config), trial_id=f"{config.run.name}-{run.path.name}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self._writer.as_default():
            for name, value in logs.items():
                tf.summary.scalar(name, value, step=epoch + 1)
        self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self._writer.flush()


@contextlib.contextmanager
def _open_wandb(config: Config, run: RunFolder, group: str, title: str) -> Iterator[list[keras.callbacks.Callback]]:
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    logging.getLogger("wandb").setLevel(logging.ERROR)
    mode = config.tracking.wandb
    if mode == "auto":
        mode = "online" if _is_logged_in() else "offline"
    settings = wandb.Settings(console="off", silent=True, init_timeout=30, x_disable_stats=True, disable_git=True)
    arguments: dict[str, Any] = {
        "project": config.tracking.project,
        "group": group,
        "name": title,
        "job_type": run.command,
        "dir": str(run.path),
        "config": flatten(config),
        "reinit": "finish_previous",
        "settings": settings,
    }
    try:
        try:
            tracked = wandb.init(mode=mode, **arguments)
        except wandb.Error:
            # No way to the server: the offline record can be synchronised later.
            tracked = wandb.init(mode="offline", **arguments)
    except Exception as error:  # whatever fails here, the record is metrics.jsonl
        print(f"warning: W&B is left out of this run: {error}", flush=True)
        yield []
        return
    tracked.define_metric("epoch/val_accuracy", summary="max")
    try:
        yield [_Unfailing(WandbMetricsLogger())]
    finally:
        with contextlib.suppress(Exception):
            tracked.finish()


class _Unfailing(keras.callbacks.Callback):
    """Hands epochs on to W&B's callback, and lets go of it when it fails: the record is metrics.jsonl."""

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        super().__init__()
        self._callback: keras.callbacks.Callback | None = callback

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if self._callback:
            self._callback.set_model(model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        try:
            if self._callback:
                self._callback.on_epoch_end(epoch, logs)
        except Exception as error:  # its process died, its disk is full, its protocol changed
            print(f"warning: W&B is left out from here on: {error}", flush=True)
            self._callback = None


def flatten(config: Config) -> dict[str, Any]:
    """The settings that make a run what it is, by dotted name, as scalars."""
    flat: dict[str, Any] = {}
    for name in list_settings():
        section, key = name.split(".")
        values = getattr(config, section)
        if section in TRACKED_SECTIONS and values is not None:
            value = getattr(values, key)
            flat[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def _is_logged_in() -> bool:
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth

    try:
        settings = wandb.setup().settings
        return bool(os.environ.get("WANDB_API_KEY") or settings.api_key or read_netrc_auth(host=settings.base_url))
    except Exception:  # a broken login is no login
        return False


def _is_finite(value: float) -> bool:
    return value - value == 0
