"""The model that a stage fits: the whole network on images, or its head on the features of a frozen backbone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_inat.data.dataset import Dataset
from keras_inat.data.pipeline import build_evaluation_batches, build_training_batches
from keras_inat.settings.schema import Config
from keras_inat.training.devices import choose_jit_compile, count_replicas
from keras_inat.training.evaluation_model import EvaluationModel, keep_average_separate
from keras_inat.training.features import load_features, split_head
from keras_inat.training.losses import build_loss, build_metrics

# A step of the head takes less time than its launch.
HEAD_STEPS_PER_EXECUTION = 32


@dataclass(frozen=True)
class StageModel:
    """A compiled model to fit, with its batches."""

    model: keras.Model  # the training model or its head
    build_batches: Callable[..., Any]  # builds the endless training batches from `first_step` on
    # Predicts the validation images with the evaluation model: probabilities `(images, classes)`.
    predict_validation: Callable[[], np.ndarray]


def build_stage_model(
    config: Config,
    data: Dataset,
    models: EvaluationModel,
    optimizer: keras.optimizers.Optimizer,
    is_frozen: bool,
    steps_per_epoch: int,
) -> StageModel:
    """Builds the model that a stage fits. It is called in the scope of the strategy.

    If the backbone is frozen and its features may be cached, this is the head.
    """
    rows = data.validation_rows
    num_classes = len(data.classes)
    if config.finetune and config.finetune.cache_features and is_frozen:
        features = load_features(models.model, data)
        head = split_head(models.model)
        model = split_head(models.training_model)
        limit = HEAD_STEPS_PER_EXECUTION
        build_batches = partial(build_training_batches, features, data.labels, data.training_rows, num_classes, config)
        predict_validation = partial(head.predict, features[0, rows], batch_size=len(rows), verbose=0)
    else:
        model = models.training_model
        limit = config.training.steps_per_execution
        build_batches = partial(
            build_training_batches, data.training_images, data.labels, data.training_rows, num_classes, config
        )
        batches = build_evaluation_batches(data.images, rows, config.training.batch_size)
        predict_validation = partial(models.model.predict, batches, verbose=0)
    ensemble_size = 1 if config.finetune else config.model.ensemble_size
    model.compile(
        optimizer=optimizer,
        loss=build_loss(config.training, data.labels[data.training_rows], num_classes, ensemble_size),
        metrics=build_metrics(),
        jit_compile=choose_jit_compile(),
        steps_per_execution=_choose_steps_per_execution(steps_per_epoch, limit),
    )
    # A step that creates no variables is traced once instead of twice. Training starts in half the time.
    model.optimizer.build(model.trainable_variables)
    keep_average_separate(model.optimizer)
    return StageModel(model, build_batches, predict_validation)


def _choose_steps_per_execution(steps_per_epoch: int, limit: int) -> int:
    if count_replicas() > 1:
        return 1  # Keras's loop of steps does not support several devices (its issue 19246)
    # If the number did not divide the steps of an epoch, Keras would take steps of the next epoch.
    return max(n for n in range(1, min(limit, steps_per_epoch) + 1) if steps_per_epoch % n == 0)
