"""Every epoch in W&B and TensorBoard."""

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_inat.config import list_settings
from keras_inat.runs import RunFolder, write_text
from keras_inat.sections import Config

# What identifies a configuration to a sweep's dashboards; paths and names would only be noise there.
TRACKED_SECTIONS = ("data", "augment", "model", "training", "finetune", "run")

# Of a row of `metrics.jsonl`, what W&B's own callback does not log.
UNTRACKED = ("epoch", "stage", "seconds", "images_per_second")


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
        "id": _read_id(run),
        "resume": "allow",
        "job_type": run.command,
        "dir": str(run.path.absolute()),  # its service may be at work in another folder
        "config": flatten(config),
        "reinit": "finish_previous",
        "settings": settings,
    }
    rows = run.read_metrics()  # of a run that goes on
    try:
        try:
            if mode == "offline":
                shutil.rmtree(run.path / "wandb", ignore_errors=True)  # what a kill left of it is written anew
            tracked = wandb.init(mode=mode, **arguments)
        except wandb.Error:
            # No way to the server: the offline record can be synchronised later.
            mode, tracked = "offline", wandb.init(mode="offline", **arguments)
    except Exception as error:  # whatever fails here, the record is metrics.jsonl
        print(f"warning: W&B is left out of this run: {error}", flush=True)
        yield []
        return
    tracked.define_metric("epoch/val_accuracy", summary="max")
    try:
        logger = WandbMetricsLogger()
        with contextlib.suppress(Exception):
            for row in rows if mode == "offline" else ():
                named = {f"epoch/{name}": row[name] for name in row if name not in UNTRACKED}
                tracked.log(named | {"epoch/epoch": row["epoch"] - 1})  # Keras counts from zero
        yield [_Unfailing(logger)]
    finally:
        with contextlib.suppress(Exception):
            tracked.finish()


def _read_id(run: RunFolder) -> str:
    """The same each time that a run goes on, so that W&B goes on with it."""
    if not run.wandb_id.exists():
        write_text(run.wandb_id, uuid.uuid4().hex[:12])
    return run.wandb_id.read_text(encoding="utf-8")


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
