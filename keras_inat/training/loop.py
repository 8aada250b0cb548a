"""The one way to train: `sweep`, `train-best` and `finetune` all end in `fit`."""

import functools
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_inat.data.pack import Pack, load_pack
from keras_inat.data.pipeline import build_evaluation_batches, build_training_batches
from keras_inat.models.backbones import build_finetune
from keras_inat.models.cnn import build_cnn
from keras_inat.models.cost import count_model
from keras_inat.runs import RunFolder, now, package_versions, read_commit, write_whole
from keras_inat.sections import Config
from keras_inat.training.schedules import build_optimizer
from keras_inat.training.stages import apply_stage, plan_stages
from keras_inat.training.tracking import EpochLog, open_tracking


@dataclass(frozen=True)
class Fit:
    """A finished training: the model with its best epoch's weights, the data it saw, and what `result.json` says."""

    model: keras.Model
    pack: Pack
    result: dict[str, Any]


def fit(config: Config, run: RunFolder, label: str = "", group: str | None = None, title: str | None = None) -> Fit:
    """Trains what `config` describes and keeps the epoch with the best validation accuracy.

    Args:
        config: Everything about the run; with a `finetune` section a backbone is adapted, otherwise the CNN is
            trained from scratch.
        run: Gets `metrics.jsonl` line by line and, unless it is a trial of a sweep, `best.keras` whenever it improves.
        label: Begins every line shown.
        group: Of the W&B run; by default the run's name.
        title: Of the W&B run; by default the run folder's name.

    Returns:
        The fit. Its result has no test accuracy: that is for `evaluation.judge`.

    Raises:
        FloatingPointError: When the loss is no longer finite.
        UserError: When data, weights or settings do not go together.
    """
    started = time.perf_counter()
    _say_device()
    keras.utils.set_random_seed(config.run.seed)
    pack = load_pack(config)
    train_rows, val_rows = pack.split(config)
    num_classes = len(pack.classes)
    batch_size = min(config.training.batch_size, len(train_rows))
    steps = len(train_rows) // batch_size
    validation = build_evaluation_batches(
        pack.train_images, pack.train_labels, val_rows, num_classes, config.training.batch_size
    )
    images = pack.training_images(config)
    model = build_model(config, num_classes)
    parameters, macs = count_model(model)
    stages = plan_stages(config)
    log = EpochLog(run, config.training.epochs, steps * batch_size, label)
    best = BestWeights(run)
    done, trained = 0, list[dict[str, Any]]()
    with open_tracking(config, run, group, title) as trackers:
        for stage, last_epoch, peak in stages:
            num_layers = apply_stage(model, stage, config.finetune)
            num_trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
            trained.append({"stage": stage.name, "parameters": num_trained, "learning_rate": peak})
            if config.finetune:
                print(
                    f"{label} stage '{stage.name}': {num_layers} backbone layers and the head train, "
                    f"{num_trained:,} of {parameters:,} parameters, learning rate {peak:g}",
                    flush=True,
                )
            model.compile(
                optimizer=build_optimizer(config.training, peak, steps * (last_epoch - done), model),
                loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.training.label_smoothing),
                metrics=["accuracy"],
                # XLA halves the speed of this network on a CPU; on a GPU Keras decides.
                jit_compile="auto" if has_accelerator() else False,
            )
            log.stage = stage.name
            callbacks = [log, best, *trackers]
            if config.training.patience:
                callbacks.append(
                    keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=config.training.patience)
                )
            # A stage goes on with the batches that the one before it would have seen next.
            batches = build_training_batches(
                images, pack.train_labels, train_rows, num_classes, config, first_step=done * steps
            )
            model.fit(
                batches,
                steps_per_epoch=steps,
                initial_epoch=done,
                epochs=last_epoch,
                validation_data=validation,
                callbacks=callbacks,
                shuffle=False,  # the batches are shuffled already
                verbose=0,
            )
            done = last_epoch
    best.restore(model)
    result = {
        "command": run.command,
        "name": config.run.name,
        "created": now(),
        "config": config.model_dump(mode="json"),
        "seed": config.run.seed,
        "val_accuracy": best.value,
        "best_epoch": best.epoch,
        "epochs": len(log.rows),
        "seconds": round(time.perf_counter() - started, 1),
        "images_per_second": round(float(np.median([row["images_per_second"] for row in log.rows])), 1),
        "parameters": parameters,
        "macs": macs,
        "stages": trained,
        "data": pack.describe(config),
        "packages": package_versions(),
        "commit": read_commit(),
    }
    return Fit(model, pack, result)


def build_model(config: Config, num_classes: int) -> keras.Model:
    """The network that `config` describes, with its first weights, uncompiled."""
    if config.finetune:
        return build_finetune(config.finetune, config.data.image_size, num_classes)
    return build_cnn(config.model, config.data.image_size, num_classes)


@functools.cache
def _say_device() -> None:
    devices = ", ".join(keras.distribution.list_devices())
    print(f"training on {devices}" + ("" if has_accelerator() else " (no GPU was found)"), flush=True)


def has_accelerator() -> bool:
    """Whether Keras computes on anything but a CPU."""
    return any(not device.lower().startswith("cpu") for device in keras.distribution.list_devices())


class BestWeights(keras.callbacks.Callback):
    """Remembers the weights of the epoch with the best validation accuracy, over all stages of a run.

    A run that is not a trial of a sweep also has them on disk, as `best.keras`, whole at any moment.
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self.run, self.value, self.epoch = run, -1.0, 0
        self._weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = round(float(logs["val_accuracy"]), 6)
        if value > self.value:
            self.value, self.epoch = value, epoch + 1
            self._weights = self.model.get_weights()
            if self.run.command != "sweep":
                with write_whole(self.run.model) as path:
                    self.model.save(path)

    def restore(self, model: keras.Model) -> None:
        """Gives `model` the best epoch's weights back."""
        model.set_weights(self._weights)
