"""Every epoch in W&B and TensorBoard."""

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_inat.files import write_text
from keras_inat.settings import roles
from keras_inat.settings.catalog import select
from keras_inat.settings.schema import Config
from keras_inat.store.records import Epoch
from keras_inat.store.runs import RunFolder

# The number in W&B's summary of a run that its panels compare runs by.
BEST_ACCURACY = "val_accuracy"
# The fields of an epoch that both trackers get.
SCALARS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


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
    """The run's `metrics.jsonl` as scalars, and the hyperparameters for TensorBoard's HParams panel."""

    def __init__(self, config: Config, run: RunFolder) -> None:
        super().__init__()
        self._run, folder = run, run.path / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that goes on it may lack an epoch, or have one too many
        self._writer = tf.summary.create_file_writer(str(folder))
        from tensorboard.plugins.hparams import api as hparams

        with self._writer.as_default():
            hparams.hparams(select_tracked(config), trial_id=f"{config.run.name}-{run.path.name}")
        self._write(run.read_epochs())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._write(self._run.read_epochs()[-1:])

    def _write(self, epochs: list[Epoch]) -> None:
        with self._writer.as_default():
            for epoch in epochs:
                for name in SCALARS:
                    tf.summary.scalar(name, getattr(epoch, name), step=epoch.epoch)
        self._writer.flush()


@contextlib.contextmanager
def _open_wandb(config: Config, run: RunFolder, group: str, title: str) -> Iterator[list[keras.callbacks.Callback]]:
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    logging.getLogger("wandb").setLevel(logging.ERROR)
    mode: Literal["online", "offline"] = "online" if is_online(config) else "offline"
    settings = wandb.Settings(console="off", silent=True, init_timeout=30, x_disable_stats=True, disable_git=True)
    arguments: dict[str, Any] = {
        "project": config.tracking.project,
        "group": group,
        "name": title,
        "id": _read_id(run),
        "resume": "allow",
        "job_type": run.command,
        "dir": str(run.path.absolute()),  # its service may be at work in another folder
        "config": {name_setting(name): value for name, value in select_tracked(config).items()},
        "reinit": "finish_previous",
        "settings": settings,
    }
    epochs = run.read_epochs()  # of a run that resumes
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
    try:
        logger = WandbMetricsLogger()
        best = max((epoch.val_accuracy for epoch in epochs), default=0.0)
        with contextlib.suppress(Exception):
            for epoch in epochs if mode == "offline" else ():
                named = {f"epoch/{name}": getattr(epoch, name) for name in SCALARS}
                tracked.log(named | {"epoch/epoch": epoch.epoch - 1})  # Keras counts from zero
            if epochs:
                tracked.summary[BEST_ACCURACY] = best
        yield [_Unfailing(logger, tracked.summary, best)]
    finally:
        with contextlib.suppress(Exception):
            tracked.finish()


def _read_id(run: RunFolder) -> str:
    """The same each time that a run goes on, so that W&B goes on with it."""
    if not run.wandb_id.exists():
        write_text(run.wandb_id, uuid.uuid4().hex[:12])
    return run.wandb_id.read_text(encoding="utf-8")


class _Unfailing(keras.callbacks.Callback):
    """Hands epochs on to W&B's callback and summary, and lets go of them on failure: the record is metrics.jsonl."""

    def __init__(self, callback: keras.callbacks.Callback, summary: Any, best: float) -> None:
        super().__init__()
        self._callback: keras.callbacks.Callback | None = callback
        self._summary, self._best = summary, best

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if self._callback:
            self._callback.set_model(model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        try:
            if self._callback:
                self._callback.on_epoch_end(epoch, logs)
                self._best = max(self._best, logs["val_accuracy"])
                self._summary[BEST_ACCURACY] = self._best
        except Exception as error:  # its process died, its disk is full, its protocol changed
            print(f"warning: W&B is left out from here on: {error}", flush=True)
            self._callback = None


def select_tracked(config: Config) -> dict[str, bool | int | float | str]:
    """Returns the settings that identify a run by dotted name, as scalars."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in select(config, roles.TRACKED).items()
    }


def name_setting(name: str) -> str:
    """A setting's name in W&B's configuration, where a dot would be taken for nesting."""
    return name.replace(".", "_")


def is_online(config: Config) -> bool:
    """Whether runs go to W&B's server: when asked for, or when somebody is logged in."""
    return config.tracking.wandb == "online" or (config.tracking.wandb == "auto" and _is_logged_in())


def _is_logged_in() -> bool:
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth

    try:
        settings = wandb.setup().settings
        return bool(os.environ.get("WANDB_API_KEY") or settings.api_key or read_netrc_auth(host=settings.base_url))
    except Exception:  # a broken login is no login
        return False
