"""Tracks every epoch in W&B and TensorBoard. Their failure does not stop a training: `metrics.jsonl` is the record."""

import contextlib
import importlib.util
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_inat.files import write_text
from keras_inat.log import warn
from keras_inat.settings import roles
from keras_inat.settings.catalog import select
from keras_inat.settings.schema import Config, Scalar
from keras_inat.store.records import Epoch
from keras_inat.store.runs import RunFolder

INSTALL = "pip install 'keras-inat[tracking]'"
# The entries in the summary of a W&B run: the best score of its epochs. Panels compare runs by one of them.
BEST_SCORES = ("val_accuracy", "val_balanced_accuracy")
# The fields of an epoch that both trackers get.
SCALARS = ("loss", "accuracy", "val_loss", *BEST_SCORES, "learning_rate")


@contextlib.contextmanager
def open_tracking(config: Config, run: RunFolder, title: str | None = None) -> Iterator[list[keras.callbacks.Callback]]:
    """Opens the W&B run and the TensorBoard log of a run and yields the callbacks that write the epochs.

    W&B is offline unless the user is logged in. It never asks for input. By default, `title` is the name of the folder.
    A tracker that is not installed is skipped.
    """
    callbacks: list[keras.callbacks.Callback] = []
    tracked = None
    if config.tracking.wandb in ("online", "offline") and not is_installed("wandb"):
        warn(f"tracking.wandb={config.tracking.wandb} has no effect, because W&B is not installed: {INSTALL}")
    if is_installed("wandb") and choose_wandb_mode(config) != "disabled":
        try:
            tracked = _init_wandb(config, run, title or run.path.name)
            callbacks.append(EpochLog("W&B", run, _open_wandb(run, tracked)))
        except Exception as error:
            warn(f"W&B does not track this run, because it failed: {error}")
    if config.tracking.tensorboard and is_installed("tensorboard"):
        callbacks.append(EpochLog("TensorBoard", run, _open_tensorboard(config, run)))
    try:
        yield callbacks
    finally:
        with contextlib.suppress(Exception):
            if tracked:
                tracked.finish()


class EpochLog(keras.callbacks.Callback):
    """Passes every epoch to a tracker, until it fails."""

    def __init__(self, tracker: str, run: RunFolder, write: Callable[[Epoch], None]) -> None:
        super().__init__()
        self._tracker = tracker
        self._run = run
        self._write: Callable[[Epoch], None] | None = write

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        try:
            if self._write:
                self._write(self._run.read_epochs()[-1])
        except Exception as error:  # its process ended, the disk is full, its protocol has changed
            warn(f"{self._tracker} stops tracking this run, because it failed: {error}")
            self._write = None


def _open_tensorboard(config: Config, run: RunFolder) -> Callable[[Epoch], None]:
    """Writes the settings for TensorBoard's HParams panel and returns a function that writes an epoch as scalars."""
    from tensorboard.plugins.hparams import api as hparams

    # The log of a resumed run may lack an epoch or have one too many. It is written anew.
    shutil.rmtree(run.tensorboard, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with writer.as_default():
        hparams.hparams(select_tracked(config), trial_id=f"{config.run.name}-{run.path.name}")

    def write(epoch: Epoch) -> None:
        with writer.as_default():
            for name in SCALARS:
                tf.summary.scalar(name, getattr(epoch, name), step=epoch.epoch)
        writer.flush()

    for epoch in run.read_epochs():
        write(epoch)
    return write


def _open_wandb(run: RunFolder, tracked: Any) -> Callable[[Epoch], None]:
    """Returns a function that writes an epoch, and the best scores so far, in the form of W&B's Keras callback."""
    tracked.define_metric("epoch/epoch")
    tracked.define_metric("epoch/*", step_metric="epoch/epoch")
    earlier = run.read_epochs()
    best = {name: max((getattr(epoch, name) for epoch in earlier), default=0.0) for name in BEST_SCORES}

    def write(epoch: Epoch) -> None:
        scalars = {f"epoch/{name}": getattr(epoch, name) for name in SCALARS}
        tracked.log(scalars | {"epoch/epoch": epoch.epoch - 1})  # Keras counts from zero
        for name in BEST_SCORES:
            best[name] = max(best[name], getattr(epoch, name))
            tracked.summary[name] = best[name]

    if tracked.offline:  # the server has the earlier epochs of an online run
        for epoch in earlier:
            write(epoch)
    return write


def _init_wandb(config: Config, run: RunFolder, title: str) -> Any:
    """Starts or resumes the W&B run of a run, with the same id, so that W&B resumes it as well."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    if not run.wandb_id.exists():
        write_text(run.wandb_id, uuid.uuid4().hex[:12])

    def init(mode: Literal["online", "offline"]) -> Any:
        return wandb.init(
            mode=mode,
            project=config.tracking.project,
            group=config.run.name,
            name=title,
            id=run.wandb_id.read_text(encoding="utf-8"),
            resume="allow",
            job_type=run.command,
            dir=str(run.path.absolute()),  # its service may run in another folder
            config={name_setting(name): value for name, value in select_tracked(config).items()},
            reinit="finish_previous",
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=30, x_disable_stats=True, disable_git=True
            ),
        )

    if choose_wandb_mode(config) == "online":
        # Without a connection the record is offline, and `wandb sync` can send it later.
        with contextlib.suppress(wandb.Error):
            return init("online")
    else:
        # The incomplete record of a killed process is written anew.
        shutil.rmtree(run.wandb, ignore_errors=True)
    return init("offline")


def select_tracked(config: Config) -> dict[str, Scalar]:
    """Returns the settings that identify a run by dotted name, as scalars."""
    settings = select(config, roles.TRACKED)
    return {name: value if isinstance(value, Scalar) else str(value) for name, value in settings.items()}


def name_setting(name: str) -> str:
    """Returns the name of a setting in W&B, where a dot would mean nesting."""
    return name.replace(".", "_")


def is_installed(package: str) -> bool:
    """Returns True if a package can be imported."""
    return importlib.util.find_spec(package) is not None


def choose_wandb_mode(config: Config) -> str:
    """Returns the mode of W&B: "online", "offline" or "disabled".

    With `tracking.wandb`=auto, the variable WANDB_MODE decides, and without it W&B is online if a user is logged in.
    """
    if config.tracking.wandb != "auto":
        return config.tracking.wandb
    mode = os.environ.get("WANDB_MODE", "").replace("dryrun", "offline")
    if mode in ("online", "offline", "disabled"):
        return mode
    return "online" if _is_logged_in() else "offline"


def _is_logged_in() -> bool:
    try:
        import wandb
        from wandb.sdk.lib.wbauth import read_netrc_auth

        settings = wandb.setup().settings
        return bool(os.environ.get("WANDB_API_KEY") or settings.api_key or read_netrc_auth(host=settings.base_url))
    except Exception:  # a broken login is no login, and another version of W&B may not have these names
        return False
