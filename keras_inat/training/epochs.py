"""The callbacks of an epoch: its progress bar, and its evaluation, record and checkpoint at its end."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_inat.errors import UserError
from keras_inat.models.model_files import load_model, write_model
from keras_inat.progress import Advance, track_progress
from keras_inat.settings.schema import Training
from keras_inat.store.balance import (
    Objective,
    measure_baseline,
    read_score,
    select,
)
from keras_inat.store.checksums import WRONG
from keras_inat.store.contracts import ModelContract
from keras_inat.store.predictions import hash_arrays
from keras_inat.store.records import Epoch
from keras_inat.store.runs import RunFolder
from keras_inat.store.scores import count_by_class, measure_balanced_accuracy
from keras_inat.training.checkpoint import Progress, read_best_weights, write_checkpoint
from keras_inat.training.evaluation_model import EvaluationModel
from keras_inat.training.losses import FINITE_STEPS, MIN_PROBABILITY
from keras_inat.training.stages import PlannedStage

# A redraw takes some milliseconds of training time. A shorter epoch has no bar.
SECONDS_BETWEEN_UPDATES = 1.0


class StepProgress(keras.callbacks.Callback):
    """Shows the progress within each epoch. It comes before `EpochEnd`, which prints a line."""

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
            bar = track_progress(
                self._description,
                self.params["steps"] * self._batch_size,
                "images",
                completed=batch * self._batch_size,
                transient=True,
            )
            self._advance = self._display.enter_context(bar)
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


class EpochEnd(keras.callbacks.Callback):
    """Evaluates, records and saves every epoch and stops the training.

    It comes before the trackers, which read the epoch from `metrics.jsonl`. `labels` `(images,)` are the classes of the
    validation images. `shows_balance` prints balanced accuracy and the majority baseline as well. See `fit` for
    `label`, `keep_best` and `stop`.
    """

    def __init__(
        self,
        run: RunFolder,
        training: Training,
        progress: Progress,
        evaluation_model: EvaluationModel,
        contract: ModelContract,
        objective: Objective,
        labels: np.ndarray,
        shows_balance: bool,
        images_per_epoch: int,
        label: str,
        keep_best: bool,
        stop: Callable[[int], bool] | None,
    ) -> None:
        super().__init__()
        self.run = run
        self.training = training
        self.progress = progress
        self.evaluation_model = evaluation_model
        self.contract = contract
        self.objective = objective
        self.labels = labels
        self.shows_balance = shows_balance
        self.images_per_epoch = images_per_epoch
        self.label = label
        self.best_weights: list[np.ndarray] = []
        self.stopped = False
        self.began = time.perf_counter()
        self._keep_best = keep_best
        self._stop = stop
        self._stage: PlannedStage
        self._predict_validation: Callable[[], np.ndarray]

    def begin_stage(self, stage: PlannedStage, predict_validation: Callable[[], np.ndarray]) -> None:
        """Prepares for the next `fit`, see `StageModel`."""
        self._stage = stage
        self._predict_validation = predict_validation
        if stage.index > self.progress.stage:
            self.progress.stage = stage.index
            self.progress.epochs_since_best = 0
        self.progress.stage_ended = False

    def resume(self) -> None:
        """Restores the best weights from the disk and finds out if the training was about to be stopped."""
        if self._keep_best:
            self._restore_best()
        self._ask_stop(self.progress.epoch)  # the process may have ended before it asked

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._count_seconds()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        number = epoch + 1
        images_per_second = self.images_per_epoch / (time.perf_counter() - self.began)
        finite_steps = int(logs.pop(FINITE_STEPS))
        _check_finite(logs["loss"], f"epoch {number}, step {finite_steps + 1}")
        logs |= self._evaluate()
        _check_finite(logs["val_loss"], f"epoch {number}, after step {finite_steps}")
        scores = ("loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy")
        record = Epoch(
            epoch=number,
            stage=self._stage.name,
            **{name: round(float(logs[name]), 6) for name in scores},  # float32 has no more digits
            learning_rate=float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            seconds=round(time.perf_counter() - self.began, 3),
            images_per_second=round(images_per_second, 1),
        )
        self._update_progress(record)
        self.run.append_epoch(record)
        self._print(record)
        self._save()
        self._ask_stop(number)
        self.model.stop_training = self.progress.stage_ended or self.stopped

    def _evaluate(self) -> dict[str, float]:
        """Returns the validation metrics of the evaluation model with its present weights."""
        self.evaluation_model.update(self.model.optimizer)
        probabilities = self._predict_validation()
        likelihoods = probabilities[np.arange(len(self.labels)), self.labels]
        correct, support = count_by_class(probabilities.argmax(axis=1), self.labels, probabilities.shape[1])
        return {
            "val_loss": -float(np.mean(np.log(np.maximum(likelihoods, MIN_PROBABILITY)))),
            "val_accuracy": float(correct.sum() / support.sum()),
            "val_balanced_accuracy": measure_balanced_accuracy(correct, support),
        }

    def _update_progress(self, epoch: Epoch) -> None:
        progress = self.progress
        progress.epochs.append(epoch)
        progress.epoch = epoch.epoch
        progress.epochs_since_best += 1
        score = read_score(self.objective, epoch)
        if score > progress.best_score:
            progress.best_score = score
            progress.best_epoch = epoch.epoch
            progress.best_accuracy = epoch.val_accuracy
            progress.best_balanced_accuracy = epoch.val_balanced_accuracy
            progress.epochs_since_best = 0
        patience = self.training.patience
        out_of_patience = patience > 0 and progress.epochs_since_best >= patience
        progress.stage_ended = epoch.epoch == self._stage.last_epoch or out_of_patience

    def _print(self, epoch: Epoch) -> None:
        balance = ""
        if self.shows_balance:
            baseline = measure_baseline(np.bincount(self.labels).tolist())
            balance = f" (balanced {epoch.val_balanced_accuracy:6.1%}, majority baseline {baseline:.1%})"
        print(
            f"{self.label} epoch {format_epoch(epoch.epoch, self.training.epochs)}"
            f"  loss {epoch.loss:.3f}  accuracy {epoch.accuracy:6.1%}  validation {epoch.val_accuracy:6.1%}{balance}"
            f"  best {select(self.objective, '', 'balanced ')}{self.progress.best_score:6.1%}"
            f"  {epoch.images_per_second:.0f} images/s  {epoch.seconds:.1f} s",
            flush=True,
        )

    def _save(self) -> None:
        improved = self._keep_best and self.progress.best_epoch == self.progress.epoch
        if improved:
            self.best_weights = self.evaluation_model.model.get_weights()
            self.progress.best_weights = hash_arrays(self.best_weights)
        self._count_seconds()
        # The checkpoint also has the best weights, because a process can end before `best.keras` is written.
        unsaved = self.best_weights if improved else []
        write_checkpoint(self.run, self.progress, self.evaluation_model.training_model, self.model.optimizer, unsaved)
        if improved:
            self._write_best()

    def _restore_best(self) -> None:
        self.best_weights = read_best_weights(self.run)
        if self.best_weights:
            self.evaluation_model.model.set_weights(self.best_weights)
            self._write_best()
            return
        with contextlib.suppress(UserError):
            self.best_weights = load_model(self.run.model).get_weights()
        if hash_arrays(self.best_weights) != self.progress.best_weights:
            raise UserError(f"{self.run.model} is missing, {WRONG}: remove {self.run.path} to train anew")

    def _write_best(self) -> None:
        write_model(self.evaluation_model.model, self.run.model, self.contract)

    def _ask_stop(self, epochs: int) -> None:
        self.stopped = self._stop is not None and self._stop(epochs)

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self.began
        self.began = now


def _check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is not finite in {where}: try a lower learning rate or weight decay")


def format_epoch(epoch: int, epochs: int) -> str:
    """Returns an epoch and the number of epochs, such as " 3/12"."""
    return f"{epoch:>{len(str(epochs))}}/{epochs}"
