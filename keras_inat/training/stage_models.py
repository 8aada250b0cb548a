"""The model that a stage fits: the whole network on images, or its head on the features of a frozen backbone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_inat.data.dataset import Dataset
from keras_inat.data.pipeline import build_evaluation_batches, build_feature_batches, build_training_batches
from keras_inat.settings.schema import Config, Training
from keras_inat.training.devices import choose_jit_compile, count_replicas
from keras_inat.training.evaluation_model import EvaluationModel, keep_average_separate
from keras_inat.training.features import load_features, split_head
from keras_inat.training.losses import build_loss, build_metrics
from keras_inat.training.stages import TrainableLayers

# A step of the head takes less time than its launch.
HEAD_STEPS_PER_EXECUTION = 32


@dataclass(frozen=True)
class StageModel:
    """A model to fit, with its batches."""

    model: keras.Model  # the training model or its head, uncompiled
    max_steps_per_execution: int  # upper limit of `steps_per_execution`
    build_batches: Callable[[int], Any]  # builds the endless training batches from a step on
    # Predicts the validation images with the evaluation model: probabilities `(images, classes)`.
    predict_validation: Callable[[], np.ndarray]


def build_stage_model(config: Config, data: Dataset, models: EvaluationModel, trainable: TrainableLayers) -> StageModel:
    """Builds the model that a stage fits. Features are used if the backbone is frozen and they may be cached."""
    if config.finetune and config.finetune.cache_features and not trainable.layers:
        return _build_head(config, data, models)
    return _build_network(config, data, models)


def _build_head(config: Config, data: Dataset, models: EvaluationModel) -> StageModel:
    features = load_features(models.model, data)
    evaluated_head = split_head(models.model)
    rows = data.validation_rows

    def build_batches(step: int) -> Any:
        return build_feature_batches(
            features, data.labels, data.training_rows, len(data.classes), config, first_step=step
        )

    def predict_validation() -> np.ndarray:
        return evaluated_head.predict(features[0, rows], batch_size=len(rows), verbose=0)

    return StageModel(split_head(models.training_model), HEAD_STEPS_PER_EXECUTION, build_batches, predict_validation)


def _build_network(config: Config, data: Dataset, models: EvaluationModel) -> StageModel:
    num_classes = len(data.classes)
    batch_size = config.training.batch_size
    validation = build_evaluation_batches(data.images, data.labels, data.validation_rows, num_classes, batch_size)

    def build_batches(step: int) -> Any:
        return build_training_batches(
            data.training_images, data.labels, data.training_rows, num_classes, config, first_step=step
        )

    def predict_validation() -> np.ndarray:
        return models.model.predict(validation, verbose=0)

    return StageModel(models.training_model, config.training.steps_per_execution, build_batches, predict_validation)


def compile_stage_model(
    stage_model: StageModel,
    optimizer: keras.optimizers.Optimizer,
    config: Config,
    data: Dataset,
    steps_per_epoch: int,
) -> None:
    """Compiles the model of a stage. It is called in the scope of the strategy."""
    labels = data.labels[data.training_rows]
    ensemble_size = 1 if config.finetune else config.model.ensemble_size
    limit = stage_model.max_steps_per_execution
    model = stage_model.model
    model.compile(
        optimizer=optimizer,
        loss=build_loss(config.training, labels, len(data.classes), ensemble_size),
        metrics=build_metrics(),
        jit_compile=choose_jit_compile(),
        steps_per_execution=_choose_steps_per_execution(config.training, steps_per_epoch, limit),
    )
    # A step that creates no variables is traced once instead of twice. Training starts in half the time.
    model.optimizer.build(model.trainable_variables)
    keep_average_separate(model.optimizer)


def _choose_steps_per_execution(training: Training, steps_per_epoch: int, limit: int) -> int:
    if count_replicas() > 1:
        return 1  # Keras's loop of steps does not support several devices (its issue 19246)
    # If the number did not divide the steps of an epoch, Keras would take steps of the next epoch.
    divisors = [n for n in range(1, min(limit, steps_per_epoch) + 1) if steps_per_epoch % n == 0]
    return divisors[-1]
