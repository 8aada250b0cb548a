"""Faster training layers with the same weights and results as the layers of Keras that they replace."""

from typing import Any

import keras
import tensorflow as tf

from keras_inat.models.cnn import LAST_LAYER
from keras_inat.training.losses import IndependentAverage


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization in one operation.

    Keras composes it of elementary operations. Each of them, and the gradient of each, reads all feature maps. On a CPU
    this takes longer than the convolutions before it. The fused operation takes a quarter of the time.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(self.moving_mean),
            tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(self.moving_mean),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation returns the unbiased variance. The moving average of Keras uses the biased one.
        count = tf.cast(tf.size(inputs) // tf.size(mean), mean.dtype)
        variance *= tf.maximum(count - 1, 1) / count
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + value * (1 - self.momentum))
        return outputs


def clone_layer_for_training(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns a layer with the settings of a built one and without weights, of the training class if there is one."""
    kind = type(layer)
    if kind is keras.layers.Average and layer.name == LAST_LAYER:
        kind = IndependentAverage
    elif kind is keras.layers.BatchNormalization and _can_be_fused(layer):
        kind = FusedBatchNormalization
    return kind.from_config(layer.get_config())


def _can_be_fused(layer: keras.layers.BatchNormalization) -> bool:
    return not (layer.renorm or layer.synchronized) and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)
