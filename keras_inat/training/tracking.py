"""Tracks every epoch in W&B and TensorBoard. Both can fail without harm, because `metrics.jsonl` is the record."""

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_inat.files import write_text
from keras_inat.log import warn
from keras_inat.settings import roles
from keras_inat.settings.catalog import select
from keras_inat.settings.schema import Config
from keras_inat.store.records import Epoch
from keras_inat.store.runs import RunFolder

# The entry in the summary of a W&B run that panels compare runs by.
BEST_ACCURACY = "val_accuracy"
# The fields of an epoch that both trackers get.
SCALARS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


@contextlib.contextmanager
def open_tracking(
    config: Config, run: RunFolder, group: str | None = None, title: str | None = None
) -> Iterator[list[keras.callbacks.Callback]]:
    """Opens the W&B run and the TensorBoard log of a run.

    W&B is offline unless the user is logged in. It never asks for input, and its failure does not stop a training.

    Args:
        config: Gives the trackers to use and the settings to track.
        run: The run folder.
        group: Group of the W&B run; by default the name of the run.
        title: Title of the W&B run; by default the name of the run folder.

    Yields:
        The callbacks that write the epochs.
    """
    callbacks: list[keras.callbacks.Callback] = []
    with contextlib.ExitStack() as stack:
        if config.tracking.wandb != "disabled":
            callbacks += stack.enter_context(_open_wandb(config, run, group or config.run.name, title or run.path.name))
        if config.tracking.tensorboard:
            callbacks.append(TensorBoardLog(config, run))
        yield callbacks


class TensorBoardLog(keras.callbacks.Callback):
    """Writes the epochs as scalars, and the settings for TensorBoard's HParams panel."""

    def __init__(self, config: Config, run: RunFolder) -> None:
        super().__init__()
        from tensorboard.plugins.hparams import api as hparams

        self._run = run
        folder = run.path / "tensorboard"
        # The log of a resumed run may lack an epoch or have one too many. It is written anew.
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(folder))
        with self._writer.as_default():
            hparams.hparams(select_tracked(config), trial_id=f"{config.run.name}-{run.path.name}")
        self._write(run.read_epochs())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._write(self._run.read_epochs()[-1:])

    def _write(self, epochs: Sequence[Epoch]) -> None:
        with self._writer.as_default():
            for epoch in epochs:
                for name in SCALARS:
                    tf.summary.scalar(name, getattr(epoch, name), step=epoch.epoch)
        self._writer.flush()


class WandbLog(keras.callbacks.Callback):
    """Writes the epochs with W&B's callback, and the best accuracy into the summary, until one of them fails.

    Args:
        tracked: The W&B run.
        epochs: The earlier epochs of a resumed run.
        is_offline: True if the record of the earlier epochs has to be written again.
    """

    def __init__(self, tracked: Any, epochs: Sequence[Epoch], is_offline: bool) -> None:
        super().__init__()
        from wandb.integration.keras import WandbMetricsLogger

        self._callback: keras.callbacks.Callback | None = WandbMetricsLogger()
        self._summary = tracked.summary
        self._best = max((epoch.val_accuracy for epoch in epochs), default=0.0)
        with contextlib.suppress(Exception):
            for epoch in epochs if is_offline else ():
                named = {f"epoch/{name}": getattr(epoch, name) for name in SCALARS}
                tracked.log(named | {"epoch/epoch": epoch.epoch - 1})  # Keras counts from zero
            if epochs:
                self._summary[BEST_ACCURACY] = self._best

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
        except Exception as error:  # its process ended, the disk is full, its protocol has changed
            warn(f"W&B stops tracking this run, because it failed: {error}")
            self._callback = None


@contextlib.contextmanager
def _open_wandb(config: Config, run: RunFolder, group: str, title: str) -> Iterator[list[keras.callbacks.Callback]]:
    try:
        tracked, is_offline = _init_wandb(config, run, group, title)
    except Exception as error:
        warn(f"W&B does not track this run, because it failed: {error}")
        yield []
        return
    try:
        yield [WandbLog(tracked, run.read_epochs(), is_offline)]
    finally:
        with contextlib.suppress(Exception):
            tracked.finish()


def _init_wandb(config: Config, run: RunFolder, group: str, title: str) -> tuple[Any, bool]:
    """Starts or resumes the W&B run of a run. Returns it, and True if it is offline."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)

    def init(mode: Literal["online", "offline"]) -> Any:
        return wandb.init(
            mode=mode,
            project=config.tracking.project,
            group=group,
            name=title,
            id=_read_wandb_id(run),
            resume="allow",
            job_type=run.command,
            dir=str(run.path.absolute()),  # its service may run in another folder
            config={name_setting(name): value for name, value in select_tracked(config).items()},
            reinit="finish_previous",
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=30, x_disable_stats=True, disable_git=True
            ),
        )

    if is_online(config):
        # Without a connection the record is offline, and `wandb sync` can send it later.
        with contextlib.suppress(wandb.Error):
            return init("online"), False
    else:
        # The incomplete record of a killed process is written anew.
        shutil.rmtree(run.path / "wandb", ignore_errors=True)
    return init("offline"), True


def _read_wandb_id(run: RunFolder) -> str:
    """Returns the W&B id of a run. A resumed run has the same one, so that W&B resumes it as well."""
    if not run.wandb_id.exists():
        write_text(run.wandb_id, uuid.uuid4().hex[:12])
    return run.wandb_id.read_text(encoding="utf-8")


def select_tracked(config: Config) -> dict[str, bool | int | float | str]:
    """Returns the settings that identify a run by dotted name, as scalars."""
    settings = {}
    for name, value in select(config, roles.TRACKED).items():
        settings[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return settings


def name_setting(name: str) -> str:
    """Returns the name of a setting in W&B, where a dot would mean nesting."""
    return name.replace(".", "_")


def is_online(config: Config) -> bool:
    """Returns True if runs are sent to the W&B server, by the settings or because a user is logged in."""
    return config.tracking.wandb == "online" or (config.tracking.wandb == "auto" and _is_logged_in())


def _is_logged_in() -> bool:
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth

    try:
        settings = wandb.setup().settings
        return bool(os.environ.get("WANDB_API_KEY") or settings.api_key or read_netrc_auth(host=settings.base_url))
    except Exception:  # a broken login is no login
        return False
