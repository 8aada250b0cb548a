"""What happens at the end of an epoch: judge, record, keep, save, and perhaps stop."""

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_inat.errors import UserError
from keras_inat.files import write_atomically
from keras_inat.settings.schema import Training
from keras_inat.store.results import Epoch
from keras_inat.store.runs import RunFolder
from keras_inat.training.checkpoint import Progress, read_best, write_checkpoint
from keras_inat.training.evaluation_model import EvaluationModel
from keras_inat.training.losses import FINITE_STEPS, MIN_PROBABILITY
from keras_inat.training.schedules import PLATEAU_FACTOR, PLATEAU_PATIENCE


class EpochEnd(keras.callbacks.Callback):
    """Ends every epoch of a stage; put first, so that the callbacks after it see the validation metrics in `logs`.

    Args:
        run: Where `metrics.jsonl`, `checkpoint.npz` and, unless it is a trial of a sweep, `best.keras` go.
        training: Epochs, patience and schedule.
        progress: How far the run is; kept up to date.
        twin: What is judged and kept.
        labels: `(images,)` int, of the validation images.
        images_per_epoch: Training images.
        label: Begins every line shown.
        stop: Is told how many epochs are done; True ends the training there, further stages included.
    """

    def __init__(
        self,
        run: RunFolder,
        training: Training,
        progress: Progress,
        twin: EvaluationModel,
        labels: np.ndarray,
        images_per_epoch: int,
        label: str,
        stop: Callable[[int], bool] | None = None,
    ) -> None:
        super().__init__()
        self.run, self.training, self.progress, self.twin = run, training, progress, twin
        self.labels, self.images_per_epoch, self.label = labels, images_per_epoch, label
        self._stop, self.stopped = stop, False
        self._kept = run.command != "sweep"  # of a trial nothing is kept but what it needs to go on
        self.stage, self.last_epoch, self.warmup_steps = "", 0, 0
        self.best_weights: list[np.ndarray] = []
        self.predict_validation: Callable[[], np.ndarray] = lambda: np.empty(0)
        self.began = time.perf_counter()

    def begin_stage(
        self, index: int, name: str, last_epoch: int, steps: int, predict_validation: Callable[[], np.ndarray]
    ) -> None:
        """Says what the next `fit` trains: a stage of `steps` steps.

        `judge` gives what the twin makes of the validation images, probabilities `(images, classes)`.
        """
        self.stage, self.last_epoch, self.predict_validation = name, last_epoch, predict_validation
        if index > self.progress.stage:
            self.progress.stage, self.progress.waiting, self.progress.stalled = index, 0, 0
        self.progress.ended = False
        plateau = self.training.schedule == "plateau"
        self.warmup_steps = round(self.training.warmup * steps) if plateau else 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.progress.seconds += time.perf_counter() - self.began
        self.began = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.warmup_steps:
            # Other schedules follow the step by themselves; on a plateau the rate is a plain variable.
            step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
            if step < self.warmup_steps:
                self.model.optimizer.learning_rate = self.training.learning_rate * (step + 1) / self.warmup_steps

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        training_seconds = time.perf_counter() - self.began
        finite_steps = int(logs.pop(FINITE_STEPS))
        _check_finite(logs["loss"], f"epoch {epoch + 1}, step {finite_steps + 1}")
        self.twin.follow(self.model.optimizer)
        probabilities = self.predict_validation()
        likelihoods = probabilities[np.arange(len(self.labels)), self.labels]
        logs["val_loss"] = -float(np.mean(np.log(np.maximum(likelihoods, MIN_PROBABILITY))))
        logs["val_accuracy"] = float(np.mean(probabilities.argmax(axis=1) == self.labels))
        _check_finite(logs["val_loss"], f"epoch {epoch + 1}, after step {finite_steps}")
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._advance(epoch + 1, logs["val_accuracy"])
        seconds = time.perf_counter() - self.began
        self._record(epoch + 1, logs, rate, seconds, self.images_per_epoch / training_seconds)
        improved = self._kept and self.progress.best_epoch == epoch + 1
        if improved:
            self.best_weights = self.twin.model.get_weights()
        self.progress.seconds += time.perf_counter() - self.began
        self.began = time.perf_counter()
        write_checkpoint(
            self.run, self.progress, self.twin.trained, self.model.optimizer, self.best_weights if improved else []
        )
        if improved:
            self._write_best()
        self.stopped = self._stop is not None and self._stop(epoch + 1)
        self.model.stop_training = self.progress.ended or self.stopped

    def _advance(self, epoch: int, accuracy: float) -> None:
        progress = self.progress
        progress.epoch, accuracy = epoch, round(accuracy, 6)
        progress.waiting, progress.stalled = progress.waiting + 1, progress.stalled + 1
        if accuracy > progress.best:
            progress.best, progress.best_epoch, progress.waiting, progress.stalled = accuracy, epoch, 0, 0
        patience = self.training.patience
        progress.ended = epoch == self.last_epoch or (bool(patience) and progress.waiting >= patience)
        optimizer = self.model.optimizer
        warm = int(keras.ops.convert_to_numpy(optimizer.iterations)) >= self.warmup_steps
        if self.training.schedule == "plateau" and warm and progress.stalled >= PLATEAU_PATIENCE:
            progress.stalled = 0
            optimizer.learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate)) * PLATEAU_FACTOR

    def _record(
        self, epoch: int, logs: dict[str, float], rate: float, seconds: float, images_per_second: float
    ) -> None:
        row = Epoch(
            epoch=epoch,
            stage=self.stage,
            loss=_round(logs["loss"]),
            accuracy=_round(logs["accuracy"]),
            val_loss=_round(logs["val_loss"]),
            val_accuracy=_round(logs["val_accuracy"]),
            learning_rate=rate,
            seconds=round(seconds, 3),
            images_per_second=round(images_per_second, 1),
        )
        self.run.append_epoch(row)
        epochs = self.training.epochs
        print(
            f"{self.label} epoch {epoch:>{len(str(epochs))}}/{epochs}"
            f"  loss {row.loss:.3f}  accuracy {row.accuracy:6.1%}  validation {row.val_accuracy:6.1%}"
            f"  best {self.progress.best:6.1%}  {images_per_second:.0f} images/s  {seconds:.1f} s",
            flush=True,
        )

    def restore_best(self) -> None:
        """Takes the best weights so far back from the disk, for a run that goes on."""
        if not self._kept:
            return
        self.best_weights = read_best(self.run)
        if self.best_weights:
            self.twin.model.set_weights(self.best_weights)
            self._write_best()
        else:
            try:
                self.best_weights = keras.models.load_model(self.run.model, compile=False).get_weights()
            except Exception:  # whatever a damaged archive leads Keras into
                raise UserError(
                    f"{self.run.model} is damaged or gone: remove {self.run.path}, and it is trained anew"
                ) from None

    def _write_best(self) -> None:
        with write_atomically(self.run.model) as path:
            self.twin.model.save(path)


def _round(value: float) -> float:
    return round(float(value), 6)  # float32 has no more digits


def _check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is not finite in {where}: try a lower learning rate")
