"""The one way to train. `sweep`, `train-best` and `finetune` all call `fit`."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_inat import __version__
from keras_inat.data.dataset import Dataset, open_data
from keras_inat.models.backbones import HEAD
from keras_inat.models.cnn import build_cnn
from keras_inat.models.cost import count_layers
from keras_inat.models.memory import check_memory, estimate_inference
from keras_inat.models.pretrained import build_finetune
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.balance import choose_objective, measure_baseline
from keras_inat.store.contracts import ModelContract
from keras_inat.store.provenance import now, read_commit, read_package_versions
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder
from keras_inat.training.checkpoint import Progress, restore_variables, resume_progress
from keras_inat.training.devices import (
    choose_precision,
    choose_strategy,
    describe_devices,
    has_accelerator,
    init_devices,
    use_precision,
)
from keras_inat.training.distillation import load_teacher
from keras_inat.training.epochs import EpochEnd, StepProgress
from keras_inat.training.evaluation_model import EvaluationModel, clone_for_training, plan_calibration
from keras_inat.training.optimizers import build_optimizer
from keras_inat.training.stage_models import build_stage_model
from keras_inat.training.stages import (
    PlannedStage,
    apply_stage,
    describe_stage,
    plan_epochs,
    plan_stages,
    summarize_stage,
)
from keras_inat.training.tracking import open_tracking


@dataclass(frozen=True)
class TrainedModel:
    """The outcome of a training."""

    # The evaluation model with the weights of the best epoch, or of the last epoch if the best one is not kept.
    model: keras.Model
    data: Dataset  # the images of the run
    result: Result  # the content of `result.json`, without scores on the test images


def fit(
    config: Config,
    run: RunFolder,
    label: str = "",
    *,
    data: Dataset | None = None,
    title: str | None = None,
    keep_best: bool = True,
    stop: Callable[[int], bool] | None = None,
    evaluate: Callable[[RunFolder, TrainedModel], Result] | None = None,
) -> TrainedModel:
    """Trains a model and keeps the epoch with the best score on the validation images; see `training.objective`.

    A run with a checkpoint is resumed. It ends with the same weights as an uninterrupted run.

    Args:
        config: With a `finetune` section, a pretrained backbone is adapted. Otherwise, the CNN is trained from scratch.
        run: Its folder gets a line of `metrics.jsonl` and a `checkpoint.npz` every epoch.
        label: Begins every printed line.
        data: The images, by default those of `config`.
        title: Title of the W&B run; by default the name of the run folder.
        keep_best: Writes `best.keras` whenever the score improves.
        stop: Called after each epoch with the number of epochs done. The training ends if it returns True.
        evaluate: Called after the training, with its outcome. Its result replaces the one of the training, and the
            trackers get it.

    Raises:
        FloatingPointError: The loss is not finite. The message names epoch and step.
    """
    init_devices(config.run.deterministic)
    keras.utils.set_random_seed(config.run.seed)
    data = data or open_data(config)
    progress = resume_progress(config, run, data.hash)
    if not progress.precision:
        progress.precision = choose_precision() if config.training.precision == "auto" else config.training.precision
    with open_tracking(config, run, title) as trackers:
        with use_precision(progress.precision):
            session = Session(data, run, progress, label, keep_best, stop, trackers)
            for stage in session.stages:
                session.train(stage)
            trained = session.finish()
        if evaluate:
            trained = replace(trained, result=evaluate(run, trained))
            for tracker in trackers:
                tracker.log_evaluation(trained.result)
        return trained


class Session:
    """The training of one run, stage by stage. See `fit` for the arguments."""

    def __init__(
        self,
        data: Dataset,
        run: RunFolder,
        progress: Progress,
        label: str,
        keep_best: bool,
        stop: Callable[[int], bool] | None,
        trackers: Sequence[keras.callbacks.Callback],
    ) -> None:
        self.data = data
        self.run = run
        self.progress = progress
        self.label = label
        self.trackers = trackers
        self.batch_size = min(data.config.training.batch_size, len(data.training_rows))
        check_cnn_memory(data.config, self.batch_size, len(data.classes))
        self.steps_per_epoch = len(data.training_rows) // self.batch_size
        # With the planned number of epochs. The result records the user's own configuration, `data.config`.
        self.config = plan_epochs(data.config, self.steps_per_epoch)
        self.strategy = choose_strategy(self.batch_size)

        # On one device: several devices fail on a last batch that has fewer images than there are devices.
        model = build_model(self.config, len(data.classes))
        self.parameters = model.count_params()
        self.macs = sum(layer.macs for layer in count_layers(model))
        with self.strategy.scope():
            training_model = clone_for_training(model, any_size=bool(self.config.training.image_scales))
            # After the CNN, so that the same seed gives the same initial weights as without a teacher.
            self.teacher = load_teacher(data.config, data.summary)
        if self.teacher:
            check_cnn_memory(data.config, self.batch_size, len(data.classes), self.teacher)
        self.models = EvaluationModel(model, training_model, plan_calibration(data, self.batch_size))
        self.decay_targets = _read_decay_targets(self.config, training_model)
        self.stages = plan_stages(self.config)
        # Every stage is applied once, so that an impossible one is reported before any is trained.
        self.summaries = [summarize_stage(model, stage, self.config) for stage in self.stages]
        self.epoch_end = EpochEnd(
            run,
            self.config.training,
            progress,
            self.models,
            _describe_model(data),
            objective=choose_objective(data.config.training.objective, data.summary.per_class.train),
            labels=data.labels[data.validation_rows],
            shows_balance=data.summary.is_imbalanced,
            images_per_epoch=self.steps_per_epoch * self.batch_size,
            label=label,
            keep_best=keep_best,
            stop=stop,
        )
        epochs = self.config.training.epochs
        given = data.config.training
        if epochs != given.epochs:
            print(
                f"{label} training for {epochs} epochs, not {given.epochs}: training.min_steps={given.min_steps}, and "
                f"an epoch has {self.steps_per_epoch} steps (training.min_steps=0 trains for {given.epochs})",
                flush=True,
            )
        if progress.epoch:
            print(f"{label} resumes after epoch {progress.epoch} of {epochs}", flush=True)
            restore_variables(run, "model", training_model.variables)
            self.epoch_end.resume()

    def train(self, stage: PlannedStage) -> None:
        """Trains a stage from its first epoch or from the checkpoint, unless it is over or the training was stopped."""
        progress = self.progress
        is_over = stage.index < progress.stage or (stage.index == progress.stage and progress.stage_ended)
        if is_over or self.epoch_end.stopped:
            return
        apply_stage(self.models.model, stage, self.config.finetune)
        rate_multipliers = apply_stage(self.models.training_model, stage, self.config.finetune)
        if self.config.finetune:
            print(f"{self.label} {describe_stage(self.summaries[stage.index], self.parameters)}", flush=True)
        num_steps = self.steps_per_epoch * (stage.last_epoch - stage.initial_epoch)
        with self.strategy.scope():
            optimizer = build_optimizer(self.config.training, num_steps, rate_multipliers, self.decay_targets)
            stage_model = build_stage_model(
                self.config,
                self.data,
                self.models,
                optimizer,
                not rate_multipliers,
                self.steps_per_epoch,
                self.teacher,
            )
        model = stage_model.model
        initial_epoch = stage.initial_epoch
        if stage.index == progress.stage and progress.epoch:
            initial_epoch = progress.epoch
            restore_variables(self.run, "optimizer", model.optimizer.variables)
        self.epoch_end.begin_stage(stage, stage_model.predict_validation)
        step_progress = StepProgress(self.label, self.config.training.epochs, self.batch_size)
        with contextlib.closing(step_progress):
            model.fit(
                # A later stage, and a resumed run, continue with the batches that would have come next.
                stage_model.build_batches(first_step=initial_epoch * self.steps_per_epoch),
                steps_per_epoch=self.steps_per_epoch,
                initial_epoch=initial_epoch,
                epochs=stage.last_epoch,
                callbacks=[step_progress, self.epoch_end, *self.trackers],
                shuffle=False,  # the batches are shuffled already
                verbose=0,
            )

    def finish(self) -> TrainedModel:
        """Restores the best weights and summarizes the run."""
        if self.epoch_end.best_weights:
            self.models.model.set_weights(self.epoch_end.best_weights)
        config = self.data.config
        progress = self.progress
        epochs = progress.epochs
        result = Result(
            command=self.run.command,
            name=config.run.name,
            created=now(),
            config=config,
            seed=config.run.seed,
            objective=self.epoch_end.objective,
            val_accuracy=progress.best_accuracy,
            val_balanced_accuracy=progress.best_balanced_accuracy,
            val_majority_baseline=measure_baseline(np.bincount(self.epoch_end.labels).tolist()),
            best_epoch=progress.best_epoch,
            epochs=len(epochs),
            planned_epochs=self.config.training.epochs,
            seconds=round(progress.seconds + time.perf_counter() - self.epoch_end.began, 1),
            images_per_second=round(float(np.median([epoch.images_per_second for epoch in epochs])), 1),
            parameters=self.parameters,
            macs=self.macs,
            precision=progress.precision,
            weights_hash=progress.weights_hash,
            teacher_hash=progress.teacher_hash,
            stages=tuple(self.summaries[: progress.stage + 1]),
            data=self.data.summary,
            packages=read_package_versions(),
            device=describe_devices(self.strategy.num_replicas_in_sync),
            commit=read_commit(),
        )
        return TrainedModel(self.models.model, self.data, result)


def build_model(config: Config, num_classes: int) -> keras.Model:
    """Builds the network of `config` with its initial weights."""
    if config.finetune:
        return build_finetune(config.finetune, config.data.image_size, num_classes, min(config.training_sizes))
    return build_cnn(config.model, config.data.image_size, num_classes)


def check_cnn_memory(config: Config, batch_size: int, num_classes: int, teacher: keras.Model | None = None) -> None:
    """Refuses a CNN whose training needs more memory than the machine has. A GPU has its own memory."""
    if not config.finetune and not has_accelerator():
        predicting = estimate_inference(count_layers(teacher), batch_size) if teacher else 0
        check_memory(override(config, {"training.batch_size": batch_size}), num_classes, predicting)


def _describe_model(data: Dataset) -> ModelContract:
    return ModelContract(
        classes=data.classes,
        image_size=data.config.data.image_size,
        preparation=data.summary.preparation,
        keras=keras.__version__,
        keras_inat=__version__,
    )


def _read_decay_targets(config: Config, model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the pretrained weights of the backbone by path if weight decay pulls towards them."""
    if not config.finetune or config.finetune.decay_to != "pretrained":
        return {}
    backbone = [layer for layer in model.layers if layer.name not in HEAD]
    return {weight.path: weight.numpy() for layer in backbone for weight in layer.trainable_weights}
