"""Layers of Keras's that train faster than they come, with the same weights and results."""

from typing import Any

import keras
import tensorflow as tf

from keras_inat.training.devices import has_accelerator

MOSAIC_IMAGES = 8  # side by side in one map
MOSAIC_SIDE = 5  # pixels of the largest map that gains by it: 1.35 times, and 2 times at 3


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation as one operation.

    Keras composes it of simple ones, of which each, and each one's gradient, goes through all the maps. On a CPU that
    takes longer than the convolutions before it; the fused operation takes a quarter of the time.
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
        # It reports the variance of the population that the batch is a sample of, Keras follows the batch's own.
        count = tf.cast(tf.size(inputs) // tf.size(mean), mean.dtype)
        variance *= tf.maximum(count - 1, 1) / count
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + value * (1 - self.momentum))
        return outputs


class MosaicConv2D(keras.layers.Conv2D):
    """A convolution that takes the maps of several images as one wide map, zeros between them, where they are small.

    The CPU's convolution computes several positions of a row at once, and rows of three leave most of it idle.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        batch, height, width, channels = inputs.shape
        if not (batch and width) or batch % MOSAIC_IMAGES or width > MOSAIC_SIDE:
            return super().convolution_op(inputs, kernel)
        rows, wide = batch // MOSAIC_IMAGES, width + self.kernel_size[1] // 2
        maps = tf.pad(inputs, ((0, 0), (0, 0), (0, wide - width), (0, 0)))
        maps = tf.transpose(tf.reshape(maps, (rows, MOSAIC_IMAGES, height, wide, channels)), (0, 2, 1, 3, 4))
        maps = super().convolution_op(tf.reshape(maps, (rows, height, MOSAIC_IMAGES * wide, channels)), kernel)
        maps = tf.transpose(tf.reshape(maps, (rows, height, MOSAIC_IMAGES, wide, self.filters)), (0, 2, 1, 3, 4))
        return tf.reshape(maps[:, :, :, :width], (batch, height, width, self.filters))


def copy_to_train(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A layer with the settings of a built one and other weights, of the faster kind where there is one."""
    kind = type(layer)
    if kind is keras.layers.BatchNormalization:
        if layer.input_spec.ndim == 4 and layer.axis in (-1, 3) and not (layer.renorm or layer.synchronized):
            kind = FusedBatchNormalization
    elif kind is keras.layers.Conv2D and not has_accelerator():
        steady = layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1
        if steady and layer.padding == "same" and layer.kernel_size != (1, 1):
            kind = MosaicConv2D
    return kind.from_config(layer.get_config())
