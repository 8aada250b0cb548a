"""The evaluation model beside the training model: averaged weights, re-estimated batch-norm statistics."""

import math
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from keras_inat.data.dataset import Dataset
from keras_inat.data.pipeline import draw_rows, read_rows
from keras_inat.models.pretrained import clone_model
from keras_inat.training.fast_layers import clone_layer_for_training

NUM_CALIBRATION = 1024


def clone_for_training(model: keras.Model, any_size: bool) -> keras.Model:
    """Returns a training model with the weights of the evaluation model `model` and the layers of `fast_layers`.

    With `any_size`, its input is `(batch, None, None, 3)`. A network that ends in global pooling has the same weights
    for every image size.
    """
    inputs = keras.Input((None, None, 3), name="image") if any_size else None
    return clone_model(model, clone_layer_for_training, inputs)


class EvaluationModel:
    """The model that is evaluated and saved, beside the one that is trained.

    It has the weights of the training model or, with `training.ema`, their moving average. Batch-norm statistics of the
    training fit neither averaged weights nor images of another size (Touvron et al. 2019, arXiv 1906.06423). In these
    cases they are estimated again, from the batches that `calibrate` returns; see `plan_calibration`.
    """

    def __init__(
        self,
        model: keras.Model,
        training_model: keras.Model,
        calibrate: Callable[[], Iterable[np.ndarray]] | None,
    ) -> None:
        self.model = model
        self.training_model = training_model
        self._calibrate = calibrate

    def update(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Takes the present weights of the training model, or their average in its optimizer."""
        for kept, weight in zip(self.model.weights, self.training_model.weights, strict=True):
            kept.assign(weight)
        # With float16, the loss-scaling optimizer wraps the one that has the average.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer.use_ema:
            averages = optimizer._model_variables_moving_average
            for kept, average in zip(self.model.trainable_variables, averages, strict=True):
                kept.assign(average)
        if self._calibrate:
            estimate_statistics(self.model, self._calibrate())


def keep_average_separate(optimizer: keras.optimizers.Optimizer) -> None:
    """Prevents `fit` from overwriting the weights by their average at its end. The next stage needs the weights."""
    optimizer.finalize_variable_values = lambda variables: None


def plan_calibration(data: Dataset, batch_size: int) -> Callable[[], Iterator[np.ndarray]] | None:
    """Returns the source of the batches for the batch-norm statistics, or None if those of the training fit.

    The batches `(batch, size, size, 3)` are not augmented. They are equally large, because each counts the same: a last
    batch of few images would give variances that are too small.
    """
    config = data.config
    if not config.training.ema and set(config.training_sizes) == {config.data.image_size}:
        return None
    count = min(NUM_CALIBRATION, len(data.training_rows))
    generator = np.random.default_rng(config.run.seed)
    rows = draw_rows(data.training_rows, data.labels, config.training.sampling, count, generator)
    batches = np.array_split(rows, math.ceil(len(rows) / batch_size))
    return lambda: (read_rows(data.images, np.sort(batch)) for batch in batches)


def estimate_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Sets the statistics of every trainable batch normalization to their means over `batches`, without dropout.

    Each batch is `(batch, size, size, 3)`. The other weights do not change.
    """
    layers = list(model._flatten_layers(include_self=False, recursive=True))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    rates = [layer.rate for layer in dropouts]
    for layer in dropouts:
        layer.rate = 0.0
    for number, images in enumerate(batches):
        for layer in norms:
            layer.momentum = number / (number + 1)  # makes the moving average a plain mean
        model(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    for layer, rate in zip(dropouts, rates, strict=True):
        layer.rate = rate
