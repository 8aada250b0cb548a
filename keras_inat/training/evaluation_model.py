"""The network as it is judged and kept, beside the one that is being trained."""

from collections.abc import Callable, Iterable

import keras
import numpy as np

from keras_inat.models.clone import clone_model
from keras_inat.training.fast_layers import clone_layer_for_training

NUM_CALIBRATION = 1024


def clone_for_training(model: keras.Model, any_size: bool) -> keras.Model:
    """A twin of `model` with the same weights; with `any_size` it takes images of every side, `(batch, None, None, 3)`.

    A network that ends in a pool over all positions has the same weights at every size. The twin has the layers of
    `fast_layers`, so it is `model` that is to be saved: its file needs none but Keras's.
    """
    inputs = keras.Input((None, None, 3), name="image") if any_size else None
    return clone_model(model, clone_layer_for_training, inputs)


class EvaluationModel:
    """Follows a model in training: its weights or their running average, at the size of the images to be judged.

    Args:
        model: The one that is judged, not compiled.
        trained: The one that is trained.
        calibrate: Gives batches `(batch, size, size, 3)` of training images without augmentation, for the statistics of
            batch normalisation, where those that training leaves do not fit: they suit neither averaged weights nor
            images of another size (Touvron et al. 2019, arXiv 1906.06423).
    """

    def __init__(
        self, model: keras.Model, trained: keras.Model, calibrate: Callable[[], Iterable[np.ndarray]] | None
    ) -> None:
        self.model, self.trained, self._calibrate = model, trained, calibrate

    def follow(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Takes the weights over from the model in training, or their average that its optimizer keeps."""
        for kept, weight in zip(self.model.weights, self.trained.weights, strict=True):
            kept.assign(weight)
        # In float16 what scales the loss is wrapped around it, and knows nothing of an average.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer.use_ema:
            averages = optimizer._model_variables_moving_average
            for kept, average in zip(self.model.trainable_variables, averages, strict=True):
                kept.assign(average)
        if self._calibrate:
            fit_statistics(self.model, self._calibrate())


def keep_average_apart(optimizer: keras.optimizers.Optimizer) -> None:
    """Keeps `fit` from replacing the weights by their average when it ends: the next stage goes on from the weights."""
    optimizer.finalize_variable_values = lambda variables: None


def fit_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Sets the statistics of every batch normalisation that trains to their means over `batches`.

    Args:
        model: Its other weights stay, and nothing is dropped meanwhile.
        batches: Each `(batch, size, size, 3)`.
    """
    layers = list(model._flatten_layers(include_self=False, recursive=True))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    drops = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    if not norms:
        return
    momenta, rates = [layer.momentum for layer in norms], [layer.rate for layer in drops]
    for layer in drops:
        layer.rate = 0.0
    for number, images in enumerate(batches):
        for layer in norms:
            layer.momentum = number / (number + 1)  # makes the moving average a plain one
        model(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    for layer, rate in zip(drops, rates, strict=True):
        layer.rate = rate
