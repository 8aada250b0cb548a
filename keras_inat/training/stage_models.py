"""The model that a stage fits: the whole network on images, or its head on cached features of a frozen backbone."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_inat.data.dataset import Dataset
from keras_inat.data.pipeline import build_evaluation_batches, build_training_batches, read_rows
from keras_inat.files import write_atomically
from keras_inat.log import warn
from keras_inat.models.backbones import HEAD
from keras_inat.models.pretrained import get_features
from keras_inat.progress import track_progress
from keras_inat.settings.schema import Config
from keras_inat.store.predictions import DAMAGED, open_arrays
from keras_inat.training.devices import choose_jit_compile, count_replicas, make_predict_function
from keras_inat.training.distillation import StudentModel
from keras_inat.training.evaluation_model import EvaluationModel, keep_average_separate
from keras_inat.training.losses import build_loss, build_metrics, choose_class_weights

# A step of the head takes less time than its launch.
HEAD_STEPS_PER_EXECUTION = 32
FEATURE_BATCH_SIZE = 32


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
    teacher: keras.Model | None = None,
) -> StageModel:
    """Builds the model that a stage fits. It is called in the scope of the strategy.

    If the backbone is frozen and its features may be cached, this is the head. With a teacher, the model learns from
    its predictions.
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
    labels = data.labels[data.training_rows]
    if teacher:
        class_weights = choose_class_weights(config.training, labels, num_classes)
        model = StudentModel(model, teacher, config.training, class_weights)
    ensemble_size = 1 if config.finetune else config.model.ensemble_size
    model.compile(
        optimizer=optimizer,
        loss=build_loss(config.training, labels, num_classes, ensemble_size),
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


def load_features(model: keras.Model, data: Dataset) -> np.ndarray:
    """Loads or computes the pooled features of the backbone for all training images, without augmentation.

    The features are cached beside the decoded pixels. The file name contains a hash of everything that they depend
    on, so that another run with the same backbone and the same images finds them.

    Returns:
        `(1 or 2, images, channels)` float32: the features of the images and, if `augment.flip` is set, of the
        flipped images.
    """
    flip = data.config.augment.flip
    key = _identify(model, data, flip)
    path = data.directory / f"features-{key}.npz"
    try:
        with open_arrays(path) as saved:
            if str(saved["key"]) == key:
                return saved["features"]
    except DAMAGED:  # or missing
        pass
    views: list[list[np.ndarray]] = [[], []] if flip else [[]]
    predict = make_predict_function(keras.Model(model.input, get_features(model)))
    with track_progress("running the frozen backbone once", len(data.images), "images") as advance:
        for rows in np.array_split(np.arange(len(data.images)), -(-len(data.images) // FEATURE_BATCH_SIZE)):
            pixels = read_rows(data.images, rows)
            views[0].append(predict(pixels))
            if flip:
                views[1].append(predict(pixels[:, :, ::-1]))
            advance(len(rows))
    features = np.stack([np.concatenate(batches) for batches in views]).astype(np.float32)
    try:
        with write_atomically(path) as temporary:
            np.savez(temporary, features=features, key=np.array(key))
    except OSError as error:  # the folder may be read-only
        warn(f"the features of the backbone are not cached for other runs, because of an error: {error}")
    return features


def split_head(model: keras.Model) -> keras.Model:
    """Returns the head as a model from features `(batch, channels)`. It shares their weights."""
    inputs = keras.Input(get_features(model).shape[1:], name="features")
    x = inputs
    for layer in model.layers:
        if layer.name in HEAD:
            x = layer(x)
    return keras.Model(inputs, x, name="head")


def _identify(model: keras.Model, data: Dataset, flip: bool) -> str:
    # Excluded images have features, too. A run without them uses the same file.
    pixels = [data.files_hash, data.summary.image_size, data.summary.preparation.model_dump(), flip]
    digest = hashlib.sha256(json.dumps(pixels).encode())
    for layer in model.layers:
        if layer.name not in HEAD:
            # The names contain a counter of the process. A frozen layer predicts the same as a trainable one.
            settings = {key: value for key, value in layer.get_config().items() if key not in ("name", "trainable")}
            digest.update(json.dumps([type(layer).__name__, settings], default=str, sort_keys=True).encode())
            for weight in layer.get_weights():
                digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:24]
