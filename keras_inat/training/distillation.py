"""Training with a teacher: a finished run whose model predicts every augmented image that the CNN is trained on.

Teacher and student see the same crop and the same colors (Beyer et al. 2022, "Knowledge distillation: a good teacher is
patient and consistent", arXiv 2106.05237). The teacher's weights never change, and the student's file does not have
them.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inat.errors import UserError
from keras_inat.models.cnn import LAST_LAYER
from keras_inat.models.model_files import load_model
from keras_inat.models.pretrained import clone_with_precision
from keras_inat.settings.schema import Config, Training
from keras_inat.store.records import DataSummary, Result
from keras_inat.store.runs import RunFolder, open_teacher
from keras_inat.training.devices import make_inference
from keras_inat.training.losses import MIN_PROBABILITY


def load_teacher(config: Config, data: DataSummary) -> keras.Model | None:
    """Loads the model of the teacher, with the precision of the student. Returns None without a teacher.

    Raises:
        UserError: The teacher was trained or validated on other images than `data`, or its file is damaged.
    """
    found = check_teacher(config, data)
    if found is None:
        return None
    run, result = found
    model = load_model(run.model, result.data)
    return clone_with_precision(model, keras.config.dtype_policy().name)


def check_teacher(config: Config, data: DataSummary) -> tuple[RunFolder, Result] | None:
    """Returns the run of the teacher and its result. Returns None without a teacher.

    Raises:
        UserError: The teacher was trained or validated on other images than `data`.
    """
    found = open_teacher(config)
    if found is None:
        return None
    _, result = found
    teacher = config.training.teacher
    if (result.data.hash, result.data.classes) != (data.hash, data.classes):
        raise UserError(
            f"`training.teacher` {teacher} was trained on other images or classes: {result.data.name} (hash "
            f"{result.data.hash}). It must be trained on those of this run: {data.name} (hash {data.hash})"
        )
    if result.data.validation_hash != data.validation_hash:
        raise UserError(
            f"`training.teacher` {teacher} has other validation images, so it was trained on some of those of this "
            "run: train it with the same `data.val_fraction`, `data.split_seed` and `data.near_duplicates`"
        )
    return found


class StudentModel(keras.Model):
    """A training model whose loss compares its predictions with the teacher's for the same images.

    It shares the layers of `training_model`. Each member of an ensemble learns from the teacher on its own.

    Args:
        training_model: The CNN to train.
        teacher: The teacher's model.
        training: The settings of the loss.
        class_weights: `(classes,)`, the weight of each class in the loss.
    """

    def __init__(
        self, training_model: keras.Model, teacher: keras.Model, training: Training, class_weights: np.ndarray
    ) -> None:
        last = training_model.get_layer(LAST_LAYER)
        members = last.input if isinstance(last, keras.layers.Average) else [last.output]
        super().__init__(training_model.inputs, [training_model.output, *members], name=training_model.name)
        # A function instead of the model, whose weights would become weights of this one.
        self._predict_teacher = make_teacher_function(teacher)
        self._weight = training.teacher_weight
        self._distillation = DistillationLoss(training.distillation_temperature)
        self._class_weights = class_weights

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        prediction, *members = y_pred
        targets = self._predict_teacher(x)
        weights = ops.sum(y * self._class_weights, axis=-1)
        loss = sum(self._distillation(targets, member, weights) for member in members)
        if self._weight == 1:
            return loss
        return self._weight * loss + (1 - self._weight) * super().compute_loss(x, y, prediction, sample_weight)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().compute_metrics(x, y, y_pred[0], sample_weight)


def make_teacher_function(teacher: keras.Model) -> Callable[[Any], Any]:
    """Returns a function from images `(batch, side, side, 3)` in [0, 255], of any side, to probabilities."""
    predict = make_inference(teacher)
    size = teacher.input_shape[1:3]

    def predict_resized(images: Any) -> Any:
        return ops.stop_gradient(predict(ops.image.resize(ops.cast(images, "float32"), size, "bilinear")))

    return predict_resized


class DistillationLoss(keras.losses.Loss):
    """The Kullback-Leibler divergence of a student from its teacher, both softened by a temperature T, times T².

    The factor keeps the size of the gradient (Hinton et al. 2015, arXiv 1503.02531). Both arguments are probabilities
    `(batch, classes)`.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__(name="distillation")
        self._temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        teacher = self._soften(y_true)
        student = self._soften(y_pred)
        return self._temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def _soften(self, probabilities: Any) -> Any:
        """Returns the logarithms of softened probabilities."""
        return ops.log_softmax(ops.log(ops.maximum(probabilities, MIN_PROBABILITY)) / self._temperature, axis=-1)
